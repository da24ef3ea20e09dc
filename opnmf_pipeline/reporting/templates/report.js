"use strict";
for (const button of document.querySelectorAll("button[data-copies]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copies);
    const range = document.createRange();
    range.selectNodeContents(source);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    let copied = false;
    try {
      await navigator.clipboard.writeText(source.innerText);
      copied = true;
    } catch {
      copied = document.execCommand("copy"); // the clipboard may be unavailable to local files
    }
    button.textContent = copied ? "Copied" : "Selected: please copy it";
  });
}
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details[data-printed]")) details.open = true;
});
