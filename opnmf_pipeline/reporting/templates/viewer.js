"use strict";
(() => {
  const part = (name) => document.getElementById("viewer-" + name);
  const data = JSON.parse(part("data").textContent);
  const [canvas, ranks, components, threshold] = ["canvas", "k", "component", "threshold"].map(part);
  const position = part("position");
  const state = { view: null, overlay: null, shown: null, busy: Promise.resolve() };

  const fit = () => data.fits[ranks.selectedIndex];

  function listComponents() {
    const { titles, stability } = fit();
    const names = stability ? [...titles, stability.title] : titles; // it is the last map
    components.replaceChildren(...names.map((title, i) => new Option(title, i)));
  }

  async function image(base64, name, options) {
    const { NVImage } = niivue;
    return NVImage.loadFromBase64({ base64, name: name + ".nii.gz", ...options });
  }

  function limits() {
    return [Math.max(1, (255 * threshold.value) / 100), 255];
  }

  function describe(location) {
    const [x, y, z] = Array.from(location.mm, (value) => Math.round(value));
    const value = location.values[location.values.length - 1].value;
    const { titles, stability } = fit();
    const isWeight = components.selectedIndex < titles.length;
    const percent = Math.round((100 * value * (isWeight ? 1 : stability.largest)) / 255);
    const unit = isWeight ? "% of the largest weight" : stability.unit;
    position.textContent = `x ${x}, y ${y}, z ${z} mm: ${percent} ${unit}`;
  }

  function toPeak() {
    const { view } = state;
    const { peaks } = fit();
    view.scene.crosshairPos = view.mm2frac(peaks[components.selectedIndex] ?? peaks[0]);
    view.updateGLVolume();
    view.createOnLocationChange();
  }

  async function start() {
    const view = new niivue.Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.35, 0.85, 1, 0.8],
      crosshairWidth: 0.4,
      dragAndDropEnabled: false,
      loadingText: "",
      logLevel: "error",
      isColorbar: false,
      multiplanarForceRender: false,
      isAntiAlias: false,
      tileMargin: 4,
    });
    await view.attachToCanvas(canvas);
    state.view = view;
    if (data.meshes.length) return view.setSliceType(view.sliceTypeRender);
    view.onLocationChange = describe;
    if (data.background) {
      view.addVolume(await image(data.background, "background", { colormap: "gray" }));
    }
    view.setSliceType(view.sliceTypeMultiplanar);
    view.opts.multiplanarShowRender = 0;
  }

  async function showMeshes() {
    const { view } = state;
    if (state.shown !== fit()) {
      for (const mesh of [...view.meshes]) view.removeMesh(mesh);
      const layers = fit().image.split(" ");
      for (const [number, base64] of data.meshes.entries()) {
        const { buffer } = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
        const grey = new Uint8Array([170, 170, 170, 255]);
        const mesh = await niivue.NVMesh.readMesh(buffer, "hemisphere.mz3", view.gl, 1, grey, true);
        await niivue.NVMesh.loadLayer({
          base64: layers[number], name: "weights.mz3", colormap: "inferno", opacity: 1,
        }, mesh);
        view.addMesh(mesh);
      }
      if (!state.shown) view.setRenderAzimuthElevation(110, 15);
      state.shown = fit();
    }
    const [low, high] = limits();
    for (const mesh of view.meshes) {
      mesh.layers[0].frame4D = components.selectedIndex;
      [mesh.layers[0].cal_min, mesh.layers[0].cal_max] = [low, high];
      mesh.updateMesh(view.gl);
    }
    view.drawScene();
  }

  async function showVolume() {
    const { view } = state;
    if (state.shown !== fit()) {
      if (state.overlay) view.removeVolume(state.overlay);
      const [low, high] = limits();
      state.overlay = await image(fit().image, "components", {
        colormap: "inferno", cal_min: low, cal_max: high,
      });
      view.addVolume(state.overlay);
      state.shown = fit();
    }
    view.setFrame4D(state.overlay.id, components.selectedIndex);
    [state.overlay.cal_min, state.overlay.cal_max] = limits(); // a new frame resets them
    toPeak();
  }

  async function show() {
    if (!state.view) await start();
    await (data.meshes.length ? showMeshes() : showVolume());
    document.getElementById("viewer").dataset.shown = `${fit().k}/${components.selectedIndex + 1}`;
  }

  function update() {
    state.busy = state.busy.then(show).catch((error) => {
      part("problem").hidden = false;
      canvas.hidden = true;
      console.warn("the viewer cannot draw:", error);
    });
  }

  function step(by) {
    const n = components.options.length;
    components.selectedIndex = (components.selectedIndex + by + n) % n;
    update();
  }

  ranks.replaceChildren(...data.fits.map((one) => new Option(`k = ${one.k}`, one.k)));
  ranks.value = data.first;
  listComponents();
  ranks.addEventListener("change", () => { listComponents(); update(); });
  components.addEventListener("change", update);
  threshold.addEventListener("input", () => {
    part("threshold-value").textContent = threshold.value + " %";
    update();
  });
  part("previous").addEventListener("click", () => step(-1));
  part("next").addEventListener("click", () => step(1));
  canvas.addEventListener("keydown", (event) => {
    const moves = {
      ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowDown: [0, -1, 0], ArrowUp: [0, 1, 0],
      PageDown: [0, 0, -1], PageUp: [0, 0, 1],
    };
    if (!(event.key in moves) || !state.view || data.meshes.length) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    state.view.moveCrosshairInVox(...moves[event.key]);
  }, true);
  for (const link of document.querySelectorAll("a[data-shows]")) {
    link.addEventListener("click", () => {
      const [k, number] = link.dataset.shows.split("/");
      ranks.value = k;
      listComponents();
      components.selectedIndex = number - 1;
      update();
    });
  }
  // Nothing is drawn before the viewer is visible
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    update();
  }).observe(canvas);
})();
