/* The correction form: sentences can be changed, added and deleted, and findings can be set. */
(() => {
  const grow = (text) => {
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + 2}px`;
  };
  document.addEventListener("input", (event) => {
    if (event.target.matches?.(".edit-sentence textarea")) grow(event.target);
  });
  /* Hidden fields have no height, so they are resized after a click, which may have opened their panel. */
  document.addEventListener("click", () =>
    requestAnimationFrame(() => document.querySelectorAll(".edit-sentence textarea").forEach(grow)));
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-edit]");
    if (!button) return;
    const section = button.closest(".edit-section");
    if (button.dataset.edit == "delete") {
      const row = button.closest(".edit-sentence");
      const next = row.nextElementSibling ?? row.previousElementSibling ?? section.querySelector("[data-edit=add]");
      row.remove();
      (next.querySelector?.("textarea") ?? next).focus();
    }
    if (button.dataset.edit == "add") {
      const row = section.querySelector("template").content.firstElementChild.cloneNode(true);
      section.querySelector(".edit-sentences").append(row);
      row.querySelector("textarea").focus();
    }
  });
  /* The content of the form, as page/cards/correction.py reads it. */
  window.readCorrectionForm = () => {
    const form = document.querySelector("#correction");
    if (!form) return "";
    const texts = (section) =>
      [...form.querySelectorAll(`.edit-section[data-section=${section}] textarea`)].map((text) => text.value);
    const states = Object.fromEntries(
      [...form.querySelectorAll("select[data-finding]")].map((choice) => [choice.dataset.finding, choice.value]));
    return JSON.stringify({
      reading: form.dataset.form, findings: texts("findings"), impression: texts("impression"), states,
    });
  };
})();
