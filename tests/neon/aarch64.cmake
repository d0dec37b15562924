# Cross-compiles for 64-bit Arm on Linux with the compiler that Debian and others call by this name:
#   cmake -B build/aarch64 -DCMAKE_TOOLCHAIN_FILE=tests/neon/aarch64.cmake
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
# Libraries and headers are the target's; programs (and Python packages' CMake files) are this machine's.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
