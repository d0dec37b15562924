"use strict";

// The slider. An <input type=range>, invisible, has the keys and speaks to screen readers; the pointer moves it.
function compare(figure) {
  const frame = figure.querySelector(".frame");
  const input = frame.querySelector("input");
  const show = () => {
    frame.style.setProperty("--split", `${input.value}%`);
    input.setAttribute("aria-valuetext", `${100 - input.value} % of the width is the restored picture`);
  };
  const follow = (event) => {
    const box = frame.getBoundingClientRect();
    input.value = 100 * (event.clientX - box.left) / box.width;
    show();
  };
  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    frame.setPointerCapture(event.pointerId);
    follow(event);
    input.focus({ preventScroll: true });
    event.preventDefault(); // else the focus would go on to what lies under the pointer
  });
  frame.addEventListener("pointermove", (event) => {
    if (frame.hasPointerCapture(event.pointerId)) follow(event);
  });
  input.addEventListener("input", show);
  for (const button of figure.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      for (const other of figure.querySelectorAll("button")) other.ariaPressed = String(other === button);
      for (const image of frame.querySelectorAll(".under")) image.hidden = image.dataset.name !== button.dataset.show;
      frame.querySelector(".left").textContent = button.dataset.show;
    });
  }
}

// Charts of one picture share their steps: a pointer over one of them shows the values in all.
function chart(box) {
  const data = JSON.parse(box.querySelector("script").textContent);
  const written = {
    loss: (value) => value.toPrecision(4),
    psnr: (value) => `${value.toFixed(2)} dB`,
    ssim: (value) => value.toFixed(4),
  };
  const figures = Object.keys(data.charts).map((key) => {
    const figure = box.querySelector(`.${key}`);
    return {
      key,
      lines: data.charts[key].lines,
      plot: figure.querySelector(".plot"),
      cross: figure.querySelector(".cross"),
      output: figure.querySelector("output"),
    };
  });
  let at = data.stops[0];

  function nearest(steps, wanted) {
    let low = 0, high = steps.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] < wanted) low = middle + 1; else high = middle;
    }
    return low > 0 && wanted - steps[low - 1] < steps[low] - wanted ? low - 1 : low;
  }

  function show(wanted) {
    at = Math.min(data.last, Math.max(1, Math.round(wanted)));
    for (const figure of figures) {
      const seen = figure.lines.filter(([steps]) => steps.length && at <= steps[steps.length - 1]);
      const lines = seen.length ? seen : figure.lines.filter(([steps]) => steps.length);
      const found = lines.map(([steps, values]) => [steps, values, nearest(steps, at)]);
      const step = found[0][0][found[0][2]];
      const values = found.map(([, values, index]) => values[index]);
      const write = written[figure.key];
      const low = write(Math.min(...values)), high = write(Math.max(...values));
      figure.output.textContent = `step ${step}: ${low === high ? low : `${low} … ${high}`}`;
      figure.cross.style.left = `${100 * step / data.last}%`;
      figure.cross.hidden = false;
    }
  }

  function hide() {
    for (const figure of figures) {
      figure.cross.hidden = true;
      figure.output.textContent = "";
    }
  }

  for (const { plot, lines } of figures) {
    const steps = lines.find(([steps]) => steps.length)[0];
    plot.addEventListener("pointermove", (event) => {
      const place = plot.getBoundingClientRect();
      show(data.last * (event.clientX - place.left) / place.width);
    });
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("focus", () => { if (plot.matches(":focus-visible")) show(at); });
    plot.addEventListener("blur", hide);
    plot.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity }[event.key];
      if (way === undefined) return;
      event.preventDefault();
      const here = nearest(steps, at) + way;
      show(steps[Math.min(steps.length - 1, Math.max(0, here))]);
    });
  }
}

document.querySelectorAll("[data-compare]").forEach(compare);
document.querySelectorAll("[data-charts]").forEach(chart);
