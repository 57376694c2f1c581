"use strict";
const sides = document.querySelectorAll(".choices select");
const names = [...sides[0].options].map((option) => option.text);
const slide = (slider) => {
  const pair = slider.closest(".pair");
  pair.style.setProperty("--at", slider.value + "%");
  slider.setAttribute("aria-valuetext", slider.value + " % " + names[sides[0].value]);
};
const choose = () => {
  const [left, right] = [...sides].map((side) => side.value);
  for (const pair of document.querySelectorAll(".pair")) {
    pair.querySelectorAll("img").forEach((image, number) => {
      image.className = String(number) === left ? "before" : String(number) === right ? "after" : "other";
    });
    if (left === right) pair.querySelectorAll("img")[left].className = "after";
    pair.querySelector(".left").textContent = names[left];
    pair.querySelector(".right").textContent = names[right];
    slide(pair.querySelector("input"));
  }
};
document.addEventListener("input", (event) => {
  if (event.target.matches(".pair input")) slide(event.target);
});
sides.forEach((side) => side.addEventListener("change", choose));
choose(); // browsers restore choices on reloading
