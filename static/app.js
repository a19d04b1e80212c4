/* Everything here is an improvement on pages that work without it: toasts, quiet polling in hidden tabs, relative times,
   dialogs in browsers that lack invoker commands, copy buttons. */
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  const find = (selector, from = document) => from.querySelectorAll(selector);

  function toast(text, tone = "info") {
    const box = document.getElementById("avisos");
    for (const old of box.children) if (old.dataset.text === text) return;
    const item = document.createElement("div");
    item.className = "toast";
    item.dataset.tone = tone;
    item.dataset.text = text;
    if (tone === "error") item.setAttribute("role", "alert");
    const words = document.createElement("span");
    words.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "×";
    close.setAttribute("aria-label", "Fechar aviso");
    close.onclick = () => item.remove();
    item.append(words, close);
    box.append(item);
    if (tone !== "error") setTimeout(() => item.remove(), 7000);
    return item;
  }

  // The server says {"aviso": {"texto": …, "tom": …}} in HX-Trigger.
  document.addEventListener("aviso", (event) => toast(event.detail.texto, event.detail.tom));

  // A hidden tab asks nothing; when it is shown again it asks at once.
  document.addEventListener("htmx:before:request", (event) => {
    const from = event.detail.ctx.sourceElement;
    if (document.hidden && from?.matches?.("[data-poll]")) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) document.dispatchEvent(new Event("atualizar"));
  });

  // One message while the server is away, taken back as soon as it answers again.
  let offline;
  const away = () => { offline ??= toast("Sem conexão com o servidor. Tentando de novo…", "error"); };
  const back = () => { offline?.remove(); offline = undefined; };
  document.addEventListener("htmx:error", away);
  document.addEventListener("htmx:response:error", (event) => {
    const { status } = event.detail.ctx.response ?? {};
    if (status >= 500) away();
    else if (status >= 400 && status !== 401 && status !== 422) toast("Não foi possível concluir. Recarregue a página e tente de novo.", "error");
  });
  document.addEventListener("htmx:after:request", (event) => {
    if (event.detail.ctx.response?.status < 500) back();
  });

  const MINUTE = 60, HOUR = 3600, DAY = 86400;
  const inWords = (seconds) => seconds < HOUR ? `${Math.max(1, Math.floor(seconds / MINUTE))} min` : `${Math.floor(seconds / HOUR)} h`;
  function ago(moment) {
    const seconds = (Date.now() - moment) / 1000;
    if (Math.abs(seconds) >= DAY) return null;
    if (seconds < 0) return seconds > -45 ? "em instantes" : `em ${inWords(-seconds)}`;
    return seconds < 45 ? "agora" : `há ${inWords(seconds)}`;
  }
  function refreshTimes(from = document) {
    for (const time of find("time[data-ago]", from)) {
      // "ontem 14:03" and dates are the server's, which knows where the day begins.
      if (/\d:|\//.test(time.textContent)) continue;
      const text = ago(new Date(time.dateTime));
      if (text && text !== time.textContent) time.textContent = text;
    }
  }
  setInterval(refreshTimes, 15000);
  document.addEventListener("htmx:after:swap", () => refreshTimes());

  // Dialogs. Without JavaScript the button submits its form and the dialog's content comes as a page.
  document.addEventListener("click", (event) => {
    const opener = event.target.closest?.("[data-dialog]");
    const dialog = opener && document.getElementById(opener.dataset.dialog);
    if (dialog) {
      event.preventDefault();
      if (!dialog.open) dialog.showModal();
      return;
    }
    // A click on the backdrop closes.
    if (event.target.matches?.("dialog") && event.target.open) {
      const box = event.target.getBoundingClientRect();
      if (event.clientY < box.top || event.clientY > box.bottom || event.clientX < box.left || event.clientX > box.right) event.target.close();
    }
    for (const menu of find("details.tabbar__more[open]")) if (!menu.contains(event.target)) menu.open = false;
    const copier = event.target.closest?.("[data-copy]");
    if (copier) copy(copier);
  });

  async function copy(button) {
    const text = button.parentElement.querySelector("code").textContent.trim();
    try {
      await navigator.clipboard.writeText(text);
      toast("Copiado.", "ok");
    } catch {
      getSelection().selectAllChildren(button.parentElement.querySelector("code"));
      toast("Selecionado: copie com Ctrl+C.", "info");
    }
  }

  // [data-when="name=value"] shows only while that radio button or select of its form has that value.
  function applyConditions(form) {
    for (const part of find("[data-when]", form)) {
      const [name, value] = part.dataset.when.split("=");
      part.hidden = new FormData(form).get(name) !== value;
    }
  }
  document.addEventListener("change", (event) => {
    if (event.target.form) applyConditions(event.target.form);
    // [data-submit]: a form of filters that sends itself.
    if (event.target.form?.matches("[data-submit]")) event.target.form.requestSubmit();
  });

  // A page that comes back from the browser's memory shows the filters that were chosen on leaving, not its own.
  addEventListener("pageshow", (event) => {
    if (event.persisted) for (const form of find("form[data-submit]")) form.reset();
  });

  document.addEventListener("DOMContentLoaded", () => {
    for (const button of find("[data-copy]")) button.hidden = false;
    for (const form of document.forms) applyConditions(form);
    document.querySelector("[aria-invalid='true']")?.focus();
    refreshTimes();
  });
})();
