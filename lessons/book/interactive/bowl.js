"use strict";
// Lesson 5's bowl, f(lam) = sum_i a_i lam_i^2 / 2, minimised from the encoder's guess lam_0 by K steps with momentum:
// v = gamma v - a lam; lam = lam + alpha v. The loss is L = f(lam_K).

/** The path lam_0 ... lam_K, each [lam_1, lam_2]. */
function path(lam, a, K, alpha, gamma) {
  const found = [lam];
  let v = [0, 0];
  for (let k = 0; k < K; k++) {
    v = v.map((e, i) => gamma * e - a[i] * lam[i]);
    lam = lam.map((e, i) => e + alpha * v[i]);
    found.push(lam);
  }
  return found;
}

/** (M^K)_11: what K steps leave of an error along a direction of curvature a; its square is the error's weight. */
function left(a, K, alpha, gamma) {
  let [lam, v] = [1, 0];
  for (let k = 0; k < K; k++) {
    v = gamma * v - a * lam;
    lam += alpha * v;
  }
  return lam;
}

/** dL / d lam_0: each entry of the gradient without steps, a lam_0, by its weight. */
const gradient = (lam, a, K, alpha, gamma) => lam.map((e, i) => left(a[i], K, alpha, gamma) ** 2 * a[i] * e);

const loss = (lam, a) => 0.5 * (a[0] * lam[0] ** 2 + a[1] * lam[1] ** 2);

globalThis.savi = { path, left, gradient, loss };

// --- the page ---

const $ = (id) => document.getElementById(id), number = (id) => Number($(id).value);
const REACH = 2.4, LEFT = 46, WEIGHTS = [-8, 4]; // powers of ten of the lower picture

function chosen() {
  const a = [number("a_1"), number("a_2")], lam = [number("lam_1"), number("lam_2")];
  return { a, lam, K: number("K"), alpha: number("alpha"), gamma: number("gamma") };
}

/** A canvas as wide as its column, in CSS pixels, cleared. */
function prepared(canvas, height) {
  const width = Math.min(Math.max(canvas.parentElement.clientWidth, 240), 520), scale = globalThis.devicePixelRatio || 1;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height(width)}px`;
  [canvas.width, canvas.height] = [width * scale, height(width) * scale];
  const c = canvas.getContext("2d");
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.fillStyle = "#fff";
  c.fillRect(0, 0, width, height(width));
  c.font = "12px sans-serif";
  c.strokeStyle = c.fillStyle = "#000";
  return { c, width, height: height(width) };
}

function stroke(c, points, ink, thick, dash = []) {
  c.beginPath();
  for (const [x, y] of points) c.lineTo(x, y);
  [c.strokeStyle, c.lineWidth] = [ink, thick];
  c.setLineDash(dash);
  c.stroke();
  c.setLineDash([]);
}

/** An arrow of 45 pixels from a point along d. */
function arrow(c, [x, y], [dx, dy], thick) {
  const length = Math.hypot(dx, dy), head = 3 + 2.5 * thick;
  if (!(length > 0 && length < Infinity)) return;
  const [ux, uy] = [dx / length, dy / length], end = [x + 45 * ux, y + 45 * uy];
  const side = (s) => [end[0] - head * (ux + 0.6 * s * uy), end[1] - head * (uy - 0.6 * s * ux)];
  stroke(c, [[x, y], end], "#B03A00", thick);
  stroke(c, [side(1), end, side(-1)], "#B03A00", thick);
}

function drawBowl({ a, lam, K, alpha, gamma }) {
  const { c, width } = prepared($("bowl-map"), (w) => w - LEFT + 34), side = width - LEFT - 8, unit = side / (2 * REACH);
  const place = (m) => [LEFT + side / 2 + m[0] * unit, 8 + side / 2 - m[1] * unit];
  c.strokeRect(LEFT, 8, side, side);
  c.textAlign = "center";
  for (let m = -2; m <= 2; m++) {
    c.fillText(m, place([m, 0])[0], side + 22);
    c.fillText(m, LEFT - 14, place([0, m])[1] + 4);
  }
  c.fillText("\u03bb\u2081", LEFT + side / 2, side + 36);
  c.fillText("\u03bb\u2082", 10, 12 + side / 2);
  c.save();
  c.beginPath();
  c.rect(LEFT, 8, side, side);
  c.clip();
  for (const f of [0.01, 0.03, 0.1, 0.3, 1, 3, 10]) {
    const round = Array.from({ length: 91 }, (_, i) => (i * Math.PI) / 45);
    stroke(c, round.map((t) => place([Math.sqrt((2 * f) / a[0]) * Math.cos(t), Math.sqrt((2 * f) / a[1]) * Math.sin(t)])), "#999", 1);
    c.fillStyle = "#555";
    c.fillText(f, ...place([0.02, Math.sqrt((2 * f) / a[1])]));
  }
  const steps = path(lam, a, K, alpha, gamma).map(place).filter((point) => point.every((v) => Math.abs(v) < 1e5));
  stroke(c, steps, "#0072B2", 2);
  c.fillStyle = "#0072B2";
  for (const [x, y] of steps) {
    c.beginPath();
    c.arc(x, y, 3, 0, 2 * Math.PI);
    c.fill();
  }
  const [x, y] = place(lam), down = ([g, h]) => [-g, h]; // pixels count downwards
  arrow(c, [x, y], down(gradient(lam, a, K, alpha, gamma)), 3.5);
  arrow(c, [x, y], down(gradient(lam, a, 0, alpha, gamma)), 1.2);
  c.fillStyle = "#000";
  c.fillRect(x - 5, y - 5, 10, 10);
  c.font = "20px sans-serif";
  c.textBaseline = "middle";
  c.fillText("\u2605", ...place([0, 0]));
  c.restore();
}

function drawWeights({ a, K, alpha, gamma }) {
  const { c, width, height } = prepared($("weights"), () => 260), floor = height - 36, side = width - LEFT - 8, most = 4.2;
  const [low, high] = WEIGHTS, across = (u) => LEFT + (u / most) * side;
  const up = (w) => 8 + ((high - Math.max(Math.min(Math.log10(w), high + 1), low - 1)) / (high - low)) * (floor - 8);
  c.textAlign = "center";
  for (let u = 0; u <= 4; u++) c.fillText(u, across(u), floor + 16);
  c.fillText("curvature times step size, \u03b1a (no unit)", LEFT + side / 2, floor + 32);
  c.textAlign = "left";
  c.fillText("weight of an error of the encoder", LEFT + 6, 20);
  c.textAlign = "right";
  for (let e = low; e <= high; e += 4) c.fillText(e ? `1e${e}` : "1", LEFT - 6, up(10 ** e) + 4);
  c.save();
  c.beginPath();
  c.rect(LEFT, 8, side, floor - 8);
  c.clip();
  stroke(c, [[LEFT, up(1)], [width, up(1)]], "#999", 1);
  const edge = across(2 * (1 + gamma));
  stroke(c, [[edge, 8], [edge, floor]], "#555", 1, [3, 3]);
  const fine = Array.from({ length: 600 }, (_, i) => ((i + 0.5) * most) / 600);
  stroke(c, fine.map((u) => [across(u), up(left(u / alpha, K, alpha, gamma) ** 2)]), "#0072B2", 2);
  c.restore();
  c.strokeStyle = "#000";
  c.lineWidth = 1;
  c.strokeRect(LEFT, 8, side, floor - 8);
  a.forEach((e, i) => {
    const x = Math.min(across(alpha * e), width - 8), y = Math.min(Math.max(up(left(e, K, alpha, gamma) ** 2), 12), floor - 4);
    c.fillStyle = "#000";
    c.fillRect(x - 4, y - 4, 8, 8);
    c.textAlign = x > width - 30 ? "right" : "left";
    c.fillText(`a${"\u2081\u2082"[i]}`, x + (x > width - 30 ? -8 : 8), y + (y < 40 ? 14 : -4));
  });
  c.textAlign = edge > width - 90 ? "right" : "left";
  if (edge < width) c.fillText("diverges", edge + (edge > width - 90 ? -4 : 4), floor - 8);
}

function draw() {
  for (const output of document.querySelectorAll(".interactive output")) output.value = output.previousElementSibling.value;
  const now = chosen(), { a, lam, K, alpha, gamma } = now;
  drawBowl(now);
  drawWeights(now);
  const short = (v) => (v !== 0 && (Math.abs(v) < 0.001 || Math.abs(v) >= 1e4) ? v.toExponential(2) : v.toFixed(3));
  const without = gradient(lam, a, 0, alpha, gamma), through = gradient(lam, a, K, alpha, gamma);
  const cells = [0, 1].map((i) => {
    const rest = left(a[i], K, alpha, gamma);
    return [alpha * a[i], rest, rest ** 2, without[i], through[i]].map((v) => `<td>${short(v)}</td>`).join("");
  });
  $("directions").innerHTML = cells.map((row, i) => `<tr><th>${i + 1}</th>${row}</tr>`).join("");
  const end = loss(path(lam, a, K, alpha, gamma).at(-1), a), diverging = a.filter((e) => alpha * e >= 2 * (1 + gamma)).length;
  const told = diverging ? " The steps diverge: \u03b1a is at or beyond 2(1 + \u03b3)." : "";
  $("said").textContent = `The loss at the guess is ${short(loss(lam, a))}, after ${K} steps ${short(end)}.${told}`;
}

/** Move the guess to the place of the map where the pointer is. */
function drag(event) {
  const side = $("bowl-map").clientWidth - LEFT - 8, unit = side / (2 * REACH);
  $("lam_1").value = (event.offsetX - LEFT - side / 2) / unit;
  $("lam_2").value = (8 + side / 2 - event.offsetY) / unit;
  draw();
}

$("bowl-map").addEventListener("pointerdown", (event) => ($("bowl-map").setPointerCapture(event.pointerId), drag(event)));
$("bowl-map").addEventListener("pointermove", (event) => event.buttons && drag(event));
$("bowl-map").addEventListener("keydown", (event) => {
  const [id, sign] = { ArrowLeft: ["lam_1", -1], ArrowRight: ["lam_1", 1], ArrowDown: ["lam_2", -1], ArrowUp: ["lam_2", 1] }[event.key] || [];
  if (!id) return;
  event.preventDefault();
  $(id).value = number(id) + sign * 0.1;
  draw();
});
document.querySelector(".interactive").addEventListener("input", draw);
for (const event of ["load", "resize"]) addEventListener(event, draw);
draw();
