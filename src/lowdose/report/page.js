"use strict";
// Divider, zoom and overlays of the viewer. Without this script the page shows all side by side.
document.documentElement.classList.add("js");

const one = (selector) => document.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

const stage = one(".stage");
const views = all(".view").map((element) => {
  const { top, left, height, width, reduction } = element.dataset;
  return { element, top: +top, left: +left, height: +height, width: +width, reduction: +reduction };
});
// `scale` is screen pixels per image pixel; `x` and `y` are where the view's corner lies.
const state = { view: views[0], scale: 0, x: 0, y: 0, split: 0.5 };

const fitScale = () =>
  Math.min(stage.clientWidth / state.view.width, stage.clientHeight / state.view.height);
const mostScale = () => Math.max(fitScale(), 16 / state.view.reduction);
const isFit = () => state.scale <= fitScale() * 1.001;

// Keep the image in sight: centred where it is smaller than the stage, without gaps where larger.
const settle = (at, size, room) => (size <= room ? (room - size) / 2 : clamp(at, room - size, 0));

function draw() {
  const { view, split } = state;
  state.scale = clamp(state.scale, fitScale(), mostScale());
  const width = view.width * state.scale;
  const height = view.height * state.scale;
  state.x = settle(state.x, width, stage.clientWidth);
  state.y = settle(state.y, height, stage.clientHeight);
  const cut = clamp(split * stage.clientWidth - state.x, 0, width);
  // As variables, not as positions, which would also move what is printed.
  for (const [name, value] of Object.entries({ x: state.x, y: state.y, width, height, cut }))
    view.element.style.setProperty(`--${name}`, `${value}px`);
  view.element.style.setProperty("--pixel", 1 / state.scale);
  stage.style.setProperty("--split", `${100 * split}%`);
  stage.classList.toggle("close", state.scale * view.reduction > 1.5);
  stage.classList.toggle("zoomed", !isFit());
  one("#split").value = 100 * split;
  one("#percent").textContent = `${Math.round(100 * state.scale)} %`;
  drawScaleBar();
}

function drawScaleBar() {
  const step = +state.view.element.dataset.step; // nanometres per image pixel, 0 if unknown
  const unit = (step || 1) / state.scale;
  const most = Math.min(180, stage.clientWidth / 3) * unit;
  const decade = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].find((factor) => factor * decade <= most) * decade;
  one(".scale-bar").style.width = `${length / unit}px`;
  one(".scale-text").textContent = words(length, step);
}

function words(length, step) {
  const short = (value) => String(+value.toPrecision(2));
  if (!step) return `${short(length)} px`;
  if (length >= 1e6) return `${short(length / 1e6)} mm`;
  return length >= 1e3 ? `${short(length / 1e3)} µm` : `${short(length)} nm`;
}

function zoomAt(x, y, factor) {
  const before = state.scale;
  state.scale = clamp(before * factor, fitScale(), mostScale());
  state.x = x - (x - state.x) * (state.scale / before);
  state.y = y - (y - state.y) * (state.scale / before);
  draw();
}

const zoom = (factor) => zoomAt(stage.clientWidth / 2, stage.clientHeight / 2, factor);

function moveBy(dx, dy) {
  state.x += dx;
  state.y += dy;
  draw();
}

function splitAt(split) {
  state.split = clamp(split, 0, 1);
  draw();
}

function showView(index) {
  state.view = views[index];
  views.forEach((view) => view.element.classList.toggle("on", view === state.view));
  document.documentElement.style.setProperty("--ratio", state.view.width / state.view.height);
  one("#caption").textContent = state.view.element.dataset.caption;
  state.scale = 0;
  draw();
  showOverlay();
}

function showOverlay() {
  const chosen = +(one("input[name=overlay]:checked")?.value ?? 0);
  const index = views.indexOf(state.view);
  for (const view of views)
    view.element.querySelectorAll(".overlay").forEach((figure, place) =>
      figure.classList.toggle("on", place + 1 === chosen));
  for (const text of all(".about[data-view]"))
    text.hidden = +text.dataset.view !== index || +text.dataset.overlay !== chosen;
  all(".opacity").forEach((label) => (label.hidden = !chosen));
}

// Show a marked place in the whole image so that it fills a quarter of the stage.
function showMark({ y, x, size }) {
  all("input[name=view]").forEach((radio, index) => (radio.checked = index === 0));
  showView(0);
  state.scale = Math.min(stage.clientWidth, stage.clientHeight) / (4 * size);
  state.scale = clamp(state.scale, fitScale(), mostScale());
  state.x = stage.clientWidth / 2 - (+x + size / 2 - state.view.left) * state.scale;
  state.y = stage.clientHeight / 2 - (+y + size / 2 - state.view.top) * state.scale;
  draw();
}

const place = (event) => {
  const box = stage.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const fingers = new Map(); // pointers that are down, and where
let grabbed = "";

stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  stage.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, place(event));
  grabbed = event.target.closest(".handle") || isFit() ? "divider" : "image";
});

stage.addEventListener("pointermove", (event) => {
  if (!fingers.has(event.pointerId)) return;
  const [x, y] = place(event);
  const [x0, y0] = fingers.get(event.pointerId);
  fingers.set(event.pointerId, [x, y]);
  const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
  if (other) {
    const apart = (a, b) => Math.hypot(a - other[0], b - other[1]) || 1;
    zoomAt((x + other[0]) / 2, (y + other[1]) / 2, apart(x, y) / apart(x0, y0));
  } else if (grabbed === "divider") splitAt(state.split + (x - x0) / stage.clientWidth);
  else moveBy(x - x0, y - y0);
});

for (const kind of ["pointerup", "pointercancel"])
  stage.addEventListener(kind, (event) => fingers.delete(event.pointerId));

stage.addEventListener("dblclick", (event) => zoomAt(...place(event), event.shiftKey ? 0.5 : 2));

// The wheel scrolls the page until the image has been clicked; a trackpad's pinch has ctrlKey.
stage.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && document.activeElement !== stage) return;
  if (isFit() && event.deltaY > 0) return;
  event.preventDefault();
  zoomAt(...place(event), Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)));
}, { passive: false });

stage.addEventListener("keydown", (event) => {
  const sideways = (sign) => (isFit() ? splitAt(state.split + sign * 0.02) : moveBy(-40 * sign, 0));
  const actions = {
    ArrowLeft: () => sideways(-1),
    ArrowRight: () => sideways(1),
    "+": () => zoom(1.5),
    "=": () => zoom(1.5),
    "-": () => zoom(1 / 1.5),
    0: () => zoom(0),
  };
  if (!isFit()) actions.ArrowUp = () => moveBy(0, 40);
  if (!isFit()) actions.ArrowDown = () => moveBy(0, -40);
  if (!(event.key in actions) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  actions[event.key]();
});

const onInput = (selector, act) =>
  all(selector).forEach((input) => input.addEventListener("input", () => act(input)));
onInput("#split", (input) => splitAt(input.value / 100));
onInput("input[name=view]", (input) => showView(+input.value));
onInput("input[name=overlay]", showOverlay);
onInput("#opacity", (input) => stage.style.setProperty("--opacity", input.value / 100));
onInput("#marks", (input) => stage.classList.toggle("unmarked", !input.checked));

const onClick = (selector, act) =>
  all(selector).forEach((button) => button.addEventListener("click", () => act(button)));
onClick("#in", () => zoom(1.5));
onClick("#out", () => zoom(1 / 1.5));
onClick("#fit", () => zoom(0));
onClick("#actual", () => zoom(1 / state.scale));
onClick(".mark", (button) => showMark(button.dataset));

showView(0);
new ResizeObserver(draw).observe(stage);
