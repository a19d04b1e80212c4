// Keeps the page fresh and its forms quiet. Everything works without it, one page load at a time.
"use strict";

const PERIOD_MS = 1500;
const last = new Map();

const FOCUSABLE = "a, button, summary";

function focused(root) {
  const row = document.activeElement?.closest("tr[id]");
  if (!row || !root.contains(row)) return null;
  return { id: row.id, index: [...row.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement) };
}

function focusAgain(place) {
  const row = place && document.getElementById(place.id);
  row?.querySelectorAll(FOCUSABLE)[place.index]?.focus({ preventScroll: true });
}

// Rows keep their place when only their insides changed, so that scrolling, focus and opened details survive.
function update(region, html) {
  const version = region.dataset.live + html;
  if (last.get(region) === version) return;
  last.set(region, version);
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  const rows = (root) => [...root.querySelectorAll("tr[id]")].map((row) => row.id).join(" ");
  const open = [...region.querySelectorAll("details[open][id]")].map((one) => one.id);
  const place = focused(region);
  if (rows(region) && rows(region) === rows(fresh.content)) {
    for (const next of fresh.content.querySelectorAll("tr[id], [id^='topo-']")) {
      const old = document.getElementById(next.id);
      old.classList.remove("changed");
      if (old.isEqualNode(next)) continue;
      if (next.id.startsWith("linha-")) next.classList.add("changed");
      old.replaceWith(next);
    }
  } else {
    region.replaceChildren(fresh.content);
  }
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (place && document.activeElement === document.body) focusAgain(place);
}

async function refresh(region) {
  const address = region.dataset.live;
  const answer = await fetch(address);
  if (answer.ok && address === region.dataset.live) update(region, await answer.text());
}

async function refreshAll() {
  const regions = [...document.querySelectorAll("[data-live]")];
  const results = await Promise.allSettled(regions.map(refresh));
  const isLost = results.some((result) => result.status === "rejected");
  document.body.classList.toggle("lost", isLost);
}

async function keepFresh() {
  if (!document.hidden) await refreshAll();
  setTimeout(keepFresh, PERIOD_MS);
}

async function sendQuietly(form, button) {
  const data = new FormData(form, button);
  const answer = await fetch(form.action, { method: "POST", body: data });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const notices = page.getElementById("avisos");
  if (notices) document.getElementById("avisos").replaceWith(notices);
  await refreshAll();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.confirm && !window.confirm(form.dataset.confirm)) {
    event.preventDefault();
  } else if (form.matches("[data-quiet]")) {
    event.preventDefault();
    sendQuietly(form, event.submitter).catch(() => form.submit());
  }
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("a.pick");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const form = document.getElementById("movimentar");
  form.elements.account.value = link.dataset.account;
  form.elements.product.value = link.dataset.product;
  form.scrollIntoView({ block: "nearest", behavior: "smooth" });
  form.elements.quantity.focus({ preventScroll: true });
  form.elements.quantity.select();
});

const search = document.querySelector("[data-search]");
search?.addEventListener("input", () => {
  const region = document.getElementById("estoque");
  const address = new URL(region.dataset.live, location);
  address.searchParams.set("busca", search.value);
  region.dataset.live = address.pathname + address.search;
  const page = new URL(location);
  page.searchParams.set("busca", search.value);
  history.replaceState(null, "", page);
  document.getElementById("movimentar").elements.busca.value = search.value;
  refresh(region).catch(() => {});
});

setTimeout(keepFresh, PERIOD_MS);
