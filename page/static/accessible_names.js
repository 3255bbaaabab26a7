/* Gradio names its drop zone and an example's button otherwise than they read ("Thumbnail 1 of 6"), which who speaks
   to a browser or listens to it cannot follow: their own text shall name them (WCAG 2.5.3). */
(() => {
  const unname = () => {
    const named = ["button.thumbnail-item", "button.upload-container"].map((button) => `${button}[aria-label]`);
    for (const button of document.querySelectorAll(named)) button.removeAttribute("aria-label");
  };
  new MutationObserver(unname).observe(document, { childList: true, subtree: true });
})();
