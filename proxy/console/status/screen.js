// How the server is: what it checks of itself, what is running now, who answers.

import { address, apiUrl } from "../app/address.js";
import { get, post } from "../app/api.js";
import { html, useEffect } from "../app/html.js";
import { bytes, count, duration, fullTime } from "../app/format.js";
import { t } from "../app/strings.js";
import { attempt } from "../app/toast.js";
import { Button, Loading, Notice, useLoaded } from "../app/ui.js";
import { whileWatched } from "../chat/tabs.js";

const LOOK_EVERY_SECONDS = 5;

export default function StatusScreen() {
  const status = useLoaded((signal) => get("v1/status", {}, { signal }), []);
  const running = useLoaded((signal) => get("v1/chat/running-replies", {}, { signal }), []);
  const checks = useLoaded(readiness, []);
  const reload = () => [status, running, checks].forEach((each) => each.reload());
  useEffect(() => whileWatched(reload, LOOK_EVERY_SECONDS), []);
  return html`<main class="page" tabindex="-1"><div class="page-content">
    <header class="page-head"><h1>${t("screen.status")}</h1><a class="button" href=${apiUrl("docs")} target="_blank" rel="noopener">${t("status.docs")}</a></header>
    ${status.error && html`<${Notice} kind="error">${status.error.message}<//>`}
    ${checks.data && html`<${Checks} data=${checks.data} />`}
    ${!status.data ? !status.error && html`<${Loading} />` : html`<${Server} data=${status.data} />`}
    ${running.data && html`<${Running} replies=${running.data} reload=${running.reload} />`}
    ${status.data && html`<${Providers} providers=${status.data.providers} /><${Workers} workers=${status.data.workers} />`}
  </div></main>`;
}

/** Read the checks; a server that is not ready answers 503 with the same body. */
async function readiness(signal) {
  try {
    return await get("readyz", {}, { signal });
  } catch (error) {
    if (error.body?.checks) return error.body;
    if (error.status !== 404) throw error;
    return get("health", {}, { signal });
  }
}

function Checks({ data }) {
  const checks = Object.entries(data.checks ?? { database: data.database ?? data.status });
  return html`<section class="card" aria-label=${t("status.checks")}><h2>${t("status.checks")}</h2><ul class="chips checks-row">
    ${checks.map(([name, value]) => {
      const text = typeof value === "object" && value !== null ? (value.status ?? value.detail ?? JSON.stringify(value)) : String(value);
      const good = ["ok", "true", "healthy", "ready", "pass"].includes(text);
      return html`<li class=${`chip ${good ? "good" : "bad"}`}>${name}: ${text}</li>`;
    })}
  </ul></section>`;
}

function Server({ data }) {
  const { database } = data;
  const facts = [
    ["version", data.version],
    ["database", `${database.server} ${database.version}`],
    ["size", database.size_bytes === null ? "–" : bytes(database.size_bytes)],
    ["conversations", count(database.conversations)],
    ["documents", count(database.plan_documents)],
    ["workers", count(data.workers.length)],
  ];
  return html`<dl class="tiles">${facts.map(([name, value]) => html`<div class="tile" key=${name}><dt>${t(`status.${name}`)}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Running({ replies, reload }) {
  const stop = (reply) =>
    attempt(async () => {
      await post(`v1/chat/messages/${reply.message_id}/stop`);
      reload();
    });
  return html`<section><h2>${t("status.running")}</h2>
    ${!replies.length ? html`<p class="hint">${t("status.noneRunning")}</p>` : html`<div class="table-box" tabindex="0"><table>
      <thead><tr><th scope="col">${t("status.conversation")}</th><th scope="col">${t("fact.model")}</th><th scope="col">${t("status.since")}</th><th></th></tr></thead>
      <tbody>${replies.map(
        (reply) => html`<tr key=${reply.message_id}>
          <th scope="row"><a href=${address("chat", reply.conversation_id)}>${reply.conversation_name || t("conversation.unnamed")}</a></th>
          <td>${reply.provider}/${reply.model}</td><td>${duration(Date.now() - Date.parse(reply.started_at))}</td>
          <td><${Button} kind="small" onClick=${() => stop(reply)}>${t("composer.stop")}<//></td></tr>`,
      )}</tbody></table></div>`}
  </section>`;
}

function Providers({ providers }) {
  return html`<section><h2>${t("status.providers")}</h2><div class="table-box" tabindex="0"><table>
    <thead><tr><th scope="col">${t("fact.provider")}</th><th scope="col" class="number">${t("status.models")}</th><th scope="col">${t("status.last")}</th></tr></thead>
    <tbody>${providers.map(
      (each) => html`<tr key=${each.name}><th scope="row">${each.name}</th><td class="number">${count(each.models)}</td>
        <td>${each.last_answer ? html`<span class=${`chip ${each.last_answer.status === "complete" ? "good" : "bad"}`}>${t(`statusOf.${each.last_answer.status}`)}</span> ${each.last_answer.model} · ${fullTime(each.last_answer.at)}` : "–"}</td></tr>`,
    )}</tbody></table></div></section>`;
}

function Workers({ workers }) {
  return html`<section><h2>${t("status.workers")}</h2><div class="table-box" tabindex="0"><table>
    <thead><tr><th scope="col">${t("status.worker")}</th><th scope="col">${t("status.started")}</th></tr></thead>
    <tbody>${workers.map((each) => html`<tr key=${each.id}><th scope="row" class="path">${each.id}</th><td>${fullTime(each.started_at)}</td></tr>`)}</tbody>
  </table></div></section>`;
}
