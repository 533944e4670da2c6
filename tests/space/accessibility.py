"""What keeps people from reading or reaching a page: text that hardly stands out, and controls without a name."""

from __future__ import annotations

CONTRAST = 4.5  # WCAG 2.1, AA, for text of any size

_FAULTS = """() => {
  const parse = text => { const c = text.match(/[\\d.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c; };
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3]));
  const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = c => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
  const behind = element => {
    const layers = [];
    for (; element; element = element.parentElement) layers.unshift(parse(getComputedStyle(element).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const faults = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement, words = texts.currentNode.textContent.trim();
    if (!words || element.closest('title, script, style') || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), back = behind(element);
    const color = element.closest('svg') ? style.fill : style.color;
    const [low, high] = [over(parse(color), back), back].map(luminance).sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < LEAST) faults.add(`contrast ${contrast.toFixed(1)} of "${words.slice(0, 40)}"`);
  }
  for (const element of document.querySelectorAll('input:not([type=file]), textarea, select, button, a[href], img')) {
    if (!element.checkVisibility()) continue;
    const labels = [...(element.labels || [])].map(label => label.innerText).join('').trim();
    const name = element.ariaLabel || element.getAttribute('aria-labelledby') || labels || element.innerText.trim()
      || element.title;
    if (!name && !element.hasAttribute('alt')) faults.add(`no name: ${element.outerHTML.slice(0, 120)}`);
  }
  return [...faults];
}""".replace("LEAST", str(CONTRAST))


def faults(page) -> list[str]:
    """Of the page as it is shown now, a line each: visible text below the contrast, visible controls without a name."""
    return page.evaluate(_FAULTS)


def serious(page) -> list[str]:
    """What axe calls serious or critical on the page as it is shown now, a line each."""
    from axe_playwright_python.sync_playwright import Axe

    response = Axe().run(page).response
    assert len(response["passes"]) > 20, "it looked"
    found = response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in ("serious", "critical")]
