/* Gradio gives its upload area and the examples labels that differ from their visible text ("Thumbnail 1 of 6").
   Screen readers and speech control need the visible text as the name (WCAG 2.5.3), so these labels are removed. */
(() => {
  const removeLabels = () => {
    const labeled = ["button.thumbnail-item", "button.upload-container"].map((button) => `${button}[aria-label]`);
    for (const button of document.querySelectorAll(labeled)) button.removeAttribute("aria-label");
  };
  new MutationObserver(removeLabels).observe(document, { childList: true, subtree: true });
})();
