/* Image viewer: zoom, pan, window and level, invert, by mouse, touch, buttons and keys. No library.
   The state of a figure is stored under its data-key, so an image that is sent again keeps its zoom and window.
   The images in one row (data-row), of the study and of the prior study, are zoomed and moved together. */
(() => {
  const states = new Map();
  const fresh = () => ({ zoom: 1, x: 0, y: 0, level: 50, width: 100, inverted: false, windowing: false });
  const MAX_ZOOM = 12, STEP = 1.3, NUDGE = 40;

  let linked = true;

  const stateOf = (view) => {
    if (!states.has(view.dataset.key)) states.set(view.dataset.key, fresh());
    return states.get(view.dataset.key);
  };
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function show(view) {
    const state = stateOf(view), pane = view.querySelector(".pane");
    state.x = clamp(state.x, pane.clientWidth * (1 - state.zoom), 0);
    state.y = clamp(state.y, pane.clientHeight * (1 - state.zoom), 0);
    view.querySelector(".zoomed").style.transform = `translate(${state.x}px, ${state.y}px) scale(${state.zoom})`;
    pane.style.touchAction = state.zoom > 1 || state.windowing ? "none" : "pan-y";
    pane.classList.toggle("zoomed-in", state.zoom > 1);
    // Gray values from level - width / 2 to level + width / 2 are stretched from black to white.
    const slope = (state.inverted ? -100 : 100) / state.width;
    const intercept = 0.5 - (slope * state.level) / 100;
    for (const ramp of view.querySelectorAll(".ramp")) {
      ramp.setAttribute("slope", slope);
      ramp.setAttribute("intercept", intercept);
    }
    const plain = state.level == 50 && state.width == 100 && !state.inverted;
    view.querySelector(".xray").style.filter = plain ? "" : `url(#${view.querySelector("filter").id})`;
    for (const slider of view.querySelectorAll("[data-slider]")) slider.value = state[slider.dataset.slider];
    for (const toggle of view.querySelectorAll("[data-toggle]"))
      toggle.setAttribute("aria-pressed", state[toggle.dataset.toggle]);
    view.querySelector(".view-status").textContent =
      `${Math.round(state.zoom * 100)}%` + (plain ? "" : ` · level ${state.level}, width ${state.width}`) +
      (state.inverted ? ", inverted" : "");
  }

  /* Zoom around a point of the pane, by default its center. */
  function zoom(view, factor, x, y) {
    const state = stateOf(view), pane = view.querySelector(".pane");
    x ??= pane.clientWidth / 2;
    y ??= pane.clientHeight / 2;
    const next = clamp(state.zoom * factor, 1, MAX_ZOOM), ratio = next / state.zoom;
    Object.assign(state, { zoom: next, x: x - (x - state.x) * ratio, y: y - (y - state.y) * ratio });
    show(view);
    showSamePart(view);
  }
  function move(view, x, y) {
    const state = stateOf(view);
    state.x += x;
    state.y += y;
    show(view);
    showSamePart(view);
  }
  /* The other image of the row gets the same zoom, and the same center as a share of its size. */
  function showSamePart(view) {
    if (!linked || !view.dataset.row) return;
    const state = stateOf(view), pane = view.querySelector(".pane");
    const offset = (size, from, fromSize) => size / 2 - ((fromSize / 2 - from) / fromSize) * size;
    for (const other of document.querySelectorAll(`.view[data-row="${view.dataset.row}"]`)) {
      if (other === view) continue;
      const { clientWidth, clientHeight } = other.querySelector(".pane");
      const x = offset(clientWidth, state.x, pane.clientWidth), y = offset(clientHeight, state.y, pane.clientHeight);
      Object.assign(stateOf(other), { zoom: state.zoom, x, y });
      show(other);
    }
  }
  function rewindow(view, across, down) {
    const state = stateOf(view);
    state.width = Math.round(clamp(state.width + across / 3, 2, 100));
    state.level = Math.round(clamp(state.level + down / 3, 0, 100));
    show(view);
  }
  const acts = {
    in: (view) => zoom(view, STEP),
    out: (view) => zoom(view, 1 / STEP),
    reset: (view) => { states.set(view.dataset.key, fresh()); show(view); showSamePart(view); },
    full: (view) => (document.fullscreenElement
      ? document.exitFullscreen() : (view.closest(".views.compared") ?? view).requestFullscreen?.()),
  };
  function toggle(view, name) {
    const state = stateOf(view);
    state[name] = !state[name];
    show(view);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".view button"), view = button?.closest(".view");
    if (!button) return;
    if (button.dataset.act) acts[button.dataset.act](view);
    if (button.dataset.toggle) toggle(view, button.dataset.toggle);
  });
  document.addEventListener("change", (event) => {
    if (event.target.dataset?.link !== undefined) linked = event.target.checked;
  });
  document.addEventListener("input", (event) => {
    const view = event.target.dataset?.slider && event.target.closest(".view");
    if (!view) return;
    stateOf(view)[event.target.dataset.slider] = Number(event.target.value);
    show(view);
  });
  document.addEventListener("keydown", (event) => {
    if (!event.target.classList?.contains("pane") || event.ctrlKey || event.metaKey || event.altKey) return;
    const view = event.target.closest(".view"), zoomed = stateOf(view).zoom > 1;
    const keys = {
      "+": () => acts.in(view), "=": () => acts.in(view), "-": () => acts.out(view), 0: () => acts.reset(view),
      i: () => toggle(view, "inverted"), f: () => acts.full(view),
      "[": () => rewindow(view, -15, 0), "]": () => rewindow(view, 15, 0),
      ",": () => rewindow(view, 0, -15), ".": () => rewindow(view, 0, 15),
      ...(zoomed && {
        ArrowLeft: () => move(view, NUDGE, 0), ArrowRight: () => move(view, -NUDGE, 0),
        ArrowUp: () => move(view, 0, NUDGE), ArrowDown: () => move(view, 0, -NUDGE),
      }),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  document.addEventListener("wheel", (event) => {
    const pane = event.target.closest?.(".view .pane");
    // At zoom 1, turning the wheel down scrolls the page.
    if (!pane || (event.deltaY > 0 && stateOf(pane.closest(".view")).zoom == 1)) return;
    event.preventDefault();
    const box = pane.getBoundingClientRect();
    zoom(pane.closest(".view"), 2 ** (-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });

  const pointers = new Map();
  document.addEventListener("pointerdown", (event) => {
    const pane = event.target.closest?.(".view .pane");
    if (!pane || event.button > 0) return;
    pointers.set(event.pointerId, { pane, x: event.clientX, y: event.clientY });
  });
  document.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const view = last.pane.closest(".view"), others = [...pointers.values()].filter((other) => other !== last);
    const across = event.clientX - last.x, down = event.clientY - last.y;
    if (others.length) {
      const [other] = others, box = last.pane.getBoundingClientRect();
      const before = Math.hypot(last.x - other.x, last.y - other.y);
      const after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
      if (before > 0)
        zoom(view, after / before, (event.clientX + other.x) / 2 - box.left, (event.clientY + other.y) / 2 - box.top);
    } else if (stateOf(view).windowing || event.shiftKey) rewindow(view, across, down);
    else move(view, across, down);
    Object.assign(last, { x: event.clientX, y: event.clientY });
  });
  for (const end of ["pointerup", "pointercancel"])
    document.addEventListener(end, (event) => pointers.delete(event.pointerId));
  document.addEventListener("dragstart", (event) => {
    if (event.target.closest?.(".view")) event.preventDefault();
  });

  /* Results replace whole parts of the page, so the selected radio button is selected again. */
  let chosen = {};
  document.addEventListener("change", (event) => {
    const reading = event.target.name == "heatmap" && event.target.closest("[data-reading]");
    if (reading) chosen = { reading: reading.dataset.reading, id: event.target.id };
  });
  const prepare = () => {
    for (const view of document.querySelectorAll(".view:not([data-ready])")) {
      view.dataset.ready = "";
      show(view);
    }
    for (const link of document.querySelectorAll("[data-link]:not([data-ready])")) {
      link.dataset.ready = "";
      link.checked = linked;
    }
    for (const part of document.querySelectorAll("[data-reading]:not([data-ready])")) {
      part.dataset.ready = "";
      const again = part.dataset.reading == chosen.reading && part.querySelector(`#${chosen.id}`);
      if (again) again.checked = true;
    }
  };
  new MutationObserver(prepare).observe(document, { childList: true, subtree: true });
  addEventListener("resize", () => document.querySelectorAll(".view").forEach(show));
})();
