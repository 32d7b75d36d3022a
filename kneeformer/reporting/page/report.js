// Slices and surfaces of the report page. Volumes are stored with axes that lead to the feet, to the back
// and to the patient's left, so that every plane is shown without turning it.
"use strict";

const PLANES = [
  { name: "sagittal", across: 2, rows: 0, columns: 1, ends: "SIAP" },
  { name: "coronal", across: 1, rows: 0, columns: 2, ends: "SIRL" },
  { name: "axial", across: 0, rows: 1, columns: 2, ends: "APRL" },
];
const WIDTH = 1040; // CSS pixels that the three planes share

/** The voxels of a volume stored as tiles of a picture: (z, y, x), one byte each. */
async function voxels(tiles, shape) {
  const picture = new Image();
  picture.src = tiles.uri;
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const found = new Uint8Array(shape[0] * shape[1] * shape[2]);
  const others = [0, 1, 2].filter((axis) => axis !== tiles.axis);
  const stride = [shape[1] * shape[2], shape[2], 1];
  const [high, wide] = others.map((axis) => shape[axis]);
  for (let slice = 0; slice < shape[tiles.axis]; slice++) {
    const top = Math.floor(slice / tiles.across) * high, left = (slice % tiles.across) * wide;
    for (let row = 0; row < high; row++) {
      for (let column = 0; column < wide; column++) {
        const at = slice * stride[tiles.axis] + row * stride[others[0]] + column * stride[others[1]];
        found[at] = rgba[4 * ((top + row) * canvas.width + left + column)];
      }
    }
  }
  return found;
}

class Viewer {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(root.querySelector("script").textContent);
    this.shape = this.data.shape;
    this.at = [...this.data.start];
    this.opacity = 0.35;
    this.hidden = new Set();
    this.heat = this.data.heat !== null && this.data.structures.length === 0;
  }

  async load() {
    this.image = await voxels(this.data.image, this.shape);
    this.labels = this.data.labels && (await voxels(this.data.labels, this.shape));
    this.map = this.data.heat && (await voxels(this.data.heat, this.shape));
    this.planes = PLANES.map((plane) => this.makePlane(plane));
    this.makeControls();
    this.draw();
    this.root.dataset.ready = "yes";
  }

  makePlane(plane) {
    const mm = [0, 1, 2].map((axis) => this.shape[axis] * this.data.spacing[axis]);
    const total = PLANES.reduce((sum, p) => sum + mm[p.columns], 0);
    const scale = Math.min(WIDTH / total, 460 / Math.max(...PLANES.map((p) => mm[p.rows])));
    const box = document.createElement("div");
    box.className = "plane";
    const canvas = document.createElement("canvas");
    const density = Math.min(2, window.devicePixelRatio || 1);
    canvas.width = Math.round(mm[plane.columns] * scale * density);
    canvas.height = Math.round(mm[plane.rows] * scale * density);
    canvas.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
    canvas.style.width = `${canvas.width / density}px`;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    const last = this.shape[plane.across] - 1;
    const label = document.createElement("label");
    const slider = document.createElement("input");
    Object.assign(slider, { type: "range", min: 0, max: last, step: 1 });
    slider.setAttribute("aria-label", `${plane.name} slice`);
    const output = document.createElement("output");
    label.append(plane.name, slider, output);
    box.append(canvas, label);
    this.root.querySelector(".planes").append(box);
    slider.addEventListener("input", () => this.move(plane.across, Number(slider.value)));
    const steps = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -5, PageDown: 5, Home: -1e9, End: 1e9 };
    canvas.addEventListener("keydown", (event) => {
      if (event.key in steps) {
        event.preventDefault();
        this.move(plane.across, this.at[plane.across] + steps[event.key]);
      }
    });
    canvas.addEventListener("click", (event) => {
      const area = canvas.getBoundingClientRect();
      const x = (event.clientX - area.left) / area.width, y = (event.clientY - area.top) / area.height;
      this.move(plane.columns, Math.floor(x * this.shape[plane.columns]));
      this.move(plane.rows, Math.floor(y * this.shape[plane.rows]));
    });
    return { ...plane, canvas, slider, output, scale: scale * density };
  }

  makeControls() {
    const controls = this.root.querySelector(".controls");
    const check = (text, on, change, colour) => {
      const label = document.createElement("label"), box = document.createElement("input");
      Object.assign(box, { type: "checkbox", checked: on });
      box.addEventListener("change", () => { change(box.checked); this.draw(); });
      label.append(box);
      if (colour) {
        const swatch = document.createElement("span");
        swatch.className = "swatch";
        swatch.style.background = colour;
        label.append(swatch);
      }
      label.append(text);
      controls.append(label);
    };
    this.data.structures.forEach((structure, i) => check(
      structure.name, true, (on) => (on ? this.hidden.delete(i + 1) : this.hidden.add(i + 1)), structure.colour,
    ));
    if (this.map) {
      check(`${this.data.heat.name} (bright: ${this.data.heat.most})`, this.heat, (on) => { this.heat = on; });
    }
    if (this.data.structures.length) {
      const label = document.createElement("label"), slider = document.createElement("input");
      Object.assign(slider, { type: "range", min: 0, max: 1, step: 0.05, value: this.opacity });
      slider.addEventListener("input", () => { this.opacity = Number(slider.value); this.draw(); });
      label.append("opacity", slider);
      controls.append(label);
    }
  }

  move(axis, index) {
    this.at[axis] = Math.max(0, Math.min(this.shape[axis] - 1, index));
    this.draw();
  }

  draw() {
    for (const plane of this.planes) {
      const index = this.at[plane.across], count = this.shape[plane.across];
      plane.slider.value = index;
      plane.output.textContent = `${index + 1} of ${count}`;
      plane.canvas.setAttribute("aria-label", `${plane.name} slice ${index + 1} of ${count}`);
      this.drawPlane(plane);
    }
  }

  drawPlane(plane) {
    const [rows, columns] = [this.shape[plane.rows], this.shape[plane.columns]];
    const stride = [this.shape[1] * this.shape[2], this.shape[2], 1];
    const first = this.at[plane.across] * stride[plane.across];
    const [down, right] = [stride[plane.rows], stride[plane.columns]];
    const grey = new ImageData(columns, rows), over = new ImageData(columns, rows);
    const colours = [null, ...this.data.structures.map((s) => s.colour.match(/\w\w/g).map((h) => parseInt(h, 16)))];
    for (let row = 0, pixel = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, pixel += 4) {
        const at = first + row * down + column * right;
        grey.data.fill(this.image[at], pixel, pixel + 3);
        grey.data[pixel + 3] = 255;
        if (this.heat && this.map[at] > 8) {
          over.data.set([...inferno(this.map[at] / 255), 210], pixel);
        } else if (this.labels && this.labels[at] && !this.hidden.has(this.labels[at])) {
          const value = this.labels[at];
          const edge = (row > 0 && this.labels[at - down] !== value) || (row < rows - 1 && this.labels[at + down] !== value)
            || (column > 0 && this.labels[at - right] !== value) || (column < columns - 1 && this.labels[at + right] !== value);
          over.data.set([...colours[value], 255 * (edge ? Math.min(1, 2.2 * this.opacity) : this.opacity)], pixel);
        }
      }
    }
    const context = plane.canvas.getContext("2d");
    const { width, height } = plane.canvas;
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(asCanvas(grey), 0, 0, width, height);
    context.imageSmoothingEnabled = false;
    context.drawImage(asCanvas(over), 0, 0, width, height);
    this.drawCross(context, plane, width, height);
    this.drawText(context, plane, width, height);
  }

  drawCross(context, plane, width, height) {
    const x = ((this.at[plane.columns] + 0.5) / this.shape[plane.columns]) * width;
    const y = ((this.at[plane.rows] + 0.5) / this.shape[plane.rows]) * height;
    context.strokeStyle = "rgba(124, 184, 255, 0.45)";
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, 0); context.lineTo(x, height);
    context.moveTo(0, y); context.lineTo(width, y);
    context.stroke();
  }

  drawText(context, plane, width, height) {
    const size = Math.round(Math.max(11, height / 26));
    const [top, bottom, left, right] = plane.ends;
    context.font = `${size}px sans-serif`;
    context.fillStyle = "#f2f2f2";
    Object.assign(context, { shadowColor: "black", shadowBlur: 4 }); // legible on bright tissue as well
    context.textBaseline = "middle";
    context.textAlign = "center";
    for (const [letter, x, y] of [[top, 0.5, 0.04], [bottom, 0.5, 0.96], [left, 0.035, 0.5], [right, 0.965, 0.5]]) {
      context.fillText(letter, x * width, y * height);
    }
    const bars = [200, 100, 50, 20, 10, 5, 2, 1];
    const bar = bars.find((mm) => mm * plane.scale <= 0.3 * width) || 1;
    context.fillRect(0.04 * width, 0.95 * height, bar * plane.scale, 3);
    context.textAlign = "left";
    context.fillText(`${bar} mm`, 0.04 * width, 0.95 * height - 0.8 * size);
    context.shadowBlur = 0;
  }
}

function asCanvas(pixels) {
  const canvas = document.createElement("canvas");
  canvas.width = pixels.width;
  canvas.height = pixels.height;
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

/** Black, purple, orange, pale yellow: a share from 0 to 1 as red, green, blue. */
function inferno(share) {
  const stops = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
  const place = Math.min(3.999, share * 4), i = Math.floor(place), part = place - i;
  return stops[i].map((value, channel) => value + part * (stops[i + 1][channel] - value));
}

function drawScene(root) {
  const figure = JSON.parse(root.parentElement.querySelector("script").textContent);
  const paint = () => {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink"), paper = style.getPropertyValue("--paper");
    const layout = { ...figure.layout, paper_bgcolor: paper, font: { color: ink } };
    return window.Plotly.react(root, figure.data, layout, { displaylogo: false, responsive: true });
  };
  root.addEventListener("keydown", (event) => turnScene(root, event));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  return paint().then(() => { root.dataset.ready = "yes"; });
}

/** Arrow keys turn a scene around the patient's long axis, and up and down. */
function turnScene(root, event) {
  const steps = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, 0.15], ArrowDown: [0, -0.15] };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const eye = root.layout.scene.camera.eye, [turn, lift] = steps[event.key];
  const flat = Math.hypot(eye.x, eye.y), angle = Math.atan2(eye.y, eye.x) + turn;
  const height = Math.max(-2.2, Math.min(2.2, eye.z + lift));
  window.Plotly.relayout(root, {
    "scene.camera.eye": { x: flat * Math.cos(angle), y: flat * Math.sin(angle), z: height },
  });
}

/** Slices of all cases, one after the other, so that printing the page shows them too. */
async function loadViewers() {
  for (const root of document.querySelectorAll("[data-viewer]")) await new Viewer(root).load();
}

/** Scenes are drawn when they come into sight: browsers draw no more than some sixteen at a time. */
function drawScenesWhenSeen() {
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((e) => e.isIntersecting)) {
      watch.unobserve(entry.target);
      drawScene(entry.target);
    }
  }, { rootMargin: "600px" });
  document.querySelectorAll("[data-scene]").forEach((scene) => watch.observe(scene));
}

loadViewers();
if (window.Plotly) drawScenesWhenSeen();
