/* The example studies: show those with one kind of error, and sort them by score. Without this script all are shown. */
(() => {
  const tools = document.querySelector(".study-tools");
  if (!tools) return;
  const [errors, order] = tools.querySelectorAll("select");
  const list = document.querySelector(".study-list");
  const parts = [...list.children];
  const studies = parts.filter((part) => part.matches(".study"));
  const isShown = (study) => {
    const kinds = study.dataset.errors;
    if (!errors.value) return true;
    if (kinds === undefined) return false;
    if (errors.value == "any") return kinds != "";
    if (errors.value == "none") return kinds == "";
    return kinds.split("|").includes(errors.value);
  };
  /* Studies without a reference have no score: they come last. */
  const score = (study) => Number(study.dataset.score ?? Infinity) * (order.value == "down" && study.dataset.score ? -1 : 1);
  const update = () => {
    list.append(...(order.value ? [...studies].sort((one, other) => score(one) - score(other) || 0) : parts));
    studies.forEach((study) => { study.hidden = !isShown(study); });
    list.querySelectorAll("li[data-kind]").forEach((error) =>
      error.classList.toggle("chosen", error.dataset.kind == errors.value));
    /* A heading is shown with the first study of its group that is shown. */
    let heading = null;
    for (const part of parts) {
      if (part.matches(".group")) {
        heading = part;
        heading.hidden = true;
      } else if (heading && !part.hidden && !order.value) heading.hidden = false;
    }
    const shown = studies.filter((study) => !study.hidden).length;
    tools.querySelector("output").textContent = `${shown} of ${studies.length} studies shown`;
  };
  tools.addEventListener("change", update);
  tools.hidden = false;
  update(); /* a browser may restore the choices of an earlier visit */
})();
