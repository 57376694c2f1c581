"use strict";
const charts = JSON.parse(document.getElementById("data").textContent);
const box = { left: 58, right: 12, top: 12, bottom: 26, width: 640, height: 250 };
const named = 12;

const shortly = (value) => Number(value.toPrecision(4)).toString();
const nearest = (points, step) => {
  let low = 0, high = points.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < step) low = middle; else high = middle;
  }
  return step - points[low][0] <= points[high][0] - step ? points[low] : points[high];
};
const across = (chart, step) =>
  box.left + (step - chart.steps[0]) / (chart.steps[1] - chart.steps[0]) * (box.width - box.left - box.right);
const down = (chart, value) => {
  const [v, low, high] = [value, ...chart.values].map((one) => (chart.log ? Math.log(one) : one));
  return box.top + (high - v) / (high - low) * (box.height - box.top - box.bottom);
};
const draw = (name, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

const point = (svg, step, height) => {
  const chart = charts[svg.dataset.chart];
  const found = chart.lines.map((line) => [line, nearest(line.points, step)]);
  const at = found.reduce((a, b) => (Math.abs(b[1][0] - step) < Math.abs(a[1][0] - step) ? b : a))[1][0];
  let rows = found.filter(([, place]) => place[0] === at);
  const all = rows.length;
  if (all > named) {
    const away = ([, place]) => Math.abs(down(chart, place[1]) - height);
    rows = rows.sort((a, b) => away(a) - away(b)).slice(0, named);
  }
  rows.sort((a, b) => b[1][1] - a[1][1]);
  const marks = svg.querySelector(".pointer");
  const x = across(chart, at);
  marks.replaceChildren(draw("path", { d: `M${x} ${box.top}V${box.height - box.bottom}` }));
  for (const [line, place] of rows) {
    marks.append(draw("circle", { cx: x, cy: down(chart, place[1]), r: 3.5, fill: line.color }));
  }
  const tip = svg.parentElement.querySelector(".tip");
  const lines = rows.map(([line, place]) => `${shortly(place[1])}  ${line.name}`);
  if (all > rows.length) lines.push(`and ${all - rows.length} more`);
  tip.textContent = [`step ${at.toLocaleString("en")}`, ...lines].join("\n");
  tip.hidden = false;
  const part = x / box.width;
  tip.style.left = part < 0.5 ? `calc(${part * 100}% + 1rem)` : "auto";
  tip.style.right = part < 0.5 ? "auto" : `calc(${(1 - part) * 100}% + 1rem)`;
  svg.dataset.step = at;
};
const leave = (svg) => {
  svg.querySelector(".pointer").replaceChildren();
  svg.parentElement.querySelector(".tip").hidden = true;
};
document.querySelectorAll(".chart").forEach((svg) => {
  const chart = charts[svg.dataset.chart];
  svg.addEventListener("pointermove", (event) => {
    const place = svg.getBoundingClientRect();
    const x = (event.clientX - place.left) / place.width * box.width;
    const y = (event.clientY - place.top) / place.height * box.height;
    const part = (x - box.left) / (box.width - box.left - box.right);
    point(svg, chart.steps[0] + part * (chart.steps[1] - chart.steps[0]), y);
  });
  svg.addEventListener("pointerleave", () => leave(svg));
  svg.addEventListener("blur", () => leave(svg));
  svg.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const steps = [...new Set(chart.lines.flatMap((line) => line.points.map((one) => one[0])))].sort((a, b) => a - b);
    const now = steps.indexOf(Number(svg.dataset.step ?? steps[steps.length - 1]));
    const next = "step" in svg.dataset ? now + way : now;
    point(svg, steps[Math.min(Math.max(next, 0), steps.length - 1)], box.height / 2);
  });
});

const show = (slider) => {
  if (slider.matches(".wipe")) {
    slider.closest(".pair").style.setProperty("--at", slider.value + "%");
    slider.setAttribute("aria-valuetext", slider.value + " % reference");
    return;
  }
  const place = Number(slider.value);
  const step = Number(slider.dataset.steps.split(" ")[place]).toLocaleString("en");
  slider.closest(".steps").querySelector("output").textContent = step;
  slider.setAttribute("aria-valuetext", "step " + step);
  slider.closest(".stepped").querySelectorAll(".pair, .whole").forEach((one) => {
    one.querySelectorAll(".at").forEach((image, number) => image.classList.toggle("on", number === place));
  });
};
document.addEventListener("input", (event) => {
  if (event.target.matches("input[type=range]")) show(event.target);
});
document.querySelectorAll("input[type=range]").forEach(show); // browsers restore them on reloading
