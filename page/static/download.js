/* Saves a file that came inside the page's answer: it never has a URL on the server that others could guess. */
window.downloadFile = (file) => {
  if (!file) return;
  const bytes = Uint8Array.from(atob(file.content), (character) => character.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: file.media_type }));
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
