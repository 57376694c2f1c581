"use strict";
const show = (slider) => {
  slider.closest(".pair").style.setProperty("--at", slider.value + "%");
  slider.setAttribute("aria-valuetext", slider.value + " % as taken");
};
document.addEventListener("input", (event) => {
  if (event.target.matches(".pair input")) show(event.target);
});
document.querySelectorAll(".pair input").forEach(show); // browsers restore them on reloading
