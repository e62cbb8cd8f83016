// Renders pages in frames and writes down what is wrong with them, for test_browser.py to read from the DOM.
const pages = JSON.parse(document.getElementById("pages").textContent);

function rgb(text) {
  const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
  const scale = text.startsWith("color(") ? 255 : 1;  // a mixed colour's channels run to 1
  return { channels: [r * scale, g * scale, b * scale], alpha: a };
}

function luminance(channels) {  // WCAG 2.1
  const [r, g, b] = channels.map((c) => ((c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function mixed(over, under, alpha) {
  return over.map((c, i) => c * alpha + under[i] * (1 - alpha));
}

function ground(element) {  // what shows behind an element
  const view = element.ownerDocument.defaultView, layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(rgb(view.getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((under, { channels, alpha }) => mixed(channels, under, alpha), [255, 255, 255]);
}

function contrast(element) {
  const view = element.ownerDocument.defaultView, style = view.getComputedStyle(element);
  const { channels, alpha } = rgb(element.closest("svg") ? style.fill : style.color);
  let opacity = alpha;
  for (let e = element; e; e = e.parentElement) opacity *= Number(view.getComputedStyle(e).opacity);
  const back = ground(element.closest("svg")?.parentElement ?? element);
  const [high, low] = [luminance(mixed(channels, back, opacity)), luminance(back)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}

function meets(a, b) {  // rectangles that overlap by more than a pixel
  return Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
}

function faults(frame) {
  const page = frame.contentDocument, found = [], told = (e) => `${e.tagName} ${e.textContent.trim().slice(0, 60)}`;
  if (page.documentElement.scrollWidth > frame.clientWidth) found.push(`wider than ${frame.clientWidth}`);
  for (const e of page.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (["STYLE", "SCRIPT", "title"].includes(e.tagName) || !own || !e.getClientRects().length) continue;
    if (contrast(e) < 4.5) found.push(`contrast ${contrast(e).toFixed(1)}: ${told(e)}`);
    if (e.getBoundingClientRect().height < 8) found.push(`too small to read: ${told(e)}`);
    const room = e.closest(".scroll") ?? page.documentElement;
    if (e.getBoundingClientRect().right > room.getBoundingClientRect().left + room.scrollWidth + 1)
      found.push(`cut off: ${told(e)}`);
  }
  for (const svg of page.querySelectorAll("svg")) {
    const texts = [...svg.querySelectorAll("text")].filter((t) => t.getClientRects().length);
    const box = (svg.closest("figure") ?? svg).getBoundingClientRect();
    const boxes = texts.map((t) => t.getBoundingClientRect());
    texts.forEach((text, i) => {
      const b = boxes[i];
      if (b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1)
        found.push(`outside the chart: ${told(text)}`);
      for (let j = 0; j < i; j++) if (meets(boxes[j], b)) found.push(`overlap: ${told(texts[j])} | ${told(text)}`);
    });
    for (const mark of svg.querySelectorAll("circle, polyline"))
      if (mark.getClientRects().length && mark.getBoundingClientRect().width < 1) found.push(`not drawn: ${mark.outerHTML}`);
  }
  const scripts = page.querySelectorAll("script");
  if (scripts.length > (page.querySelector("header") ? 1 : 0)) found.push("a script that is not the page's own");
  for (const code of page.querySelectorAll("header ~ * code.copy"))
    if (code.nextElementSibling?.tagName !== "BUTTON") found.push(`cannot be copied: ${told(code)}`);
  const loaded = frame.contentWindow.performance.getEntriesByType("resource");
  if (loaded.length) found.push(`loads ${loaded.map((entry) => entry.name)}`);
  return found;
}

const results = {}, dark = matchMedia("(prefers-color-scheme: dark)").matches;
Promise.all(Object.entries(pages).flatMap(([name, source]) => [1400, 760, 400].map((width) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: 800px; border: 0; color-scheme: light dark`;
  frame.onload = () => {
    const folded = faults(frame);
    for (const details of frame.contentDocument.querySelectorAll("details")) details.open = true;
    results[`${name}, ${width} px`] = [...folded, ...faults(frame)];
    done();
  };
  frame.srcdoc = source;
  document.body.append(frame);
})))).then(() => {
  document.body.innerHTML = "";
  document.body.append(Object.assign(document.createElement("pre"), { id: "result" }));
  document.getElementById("result").textContent = JSON.stringify({ dark, results });
});
