// What can be done with a conversation's messages; the buttons only call these.

import { get, post } from "../app/api.js";
import { address, go } from "../app/address.js";
import { confirm, open } from "../app/dialogs.js";
import { t } from "../app/strings.js";
import { attempt, say } from "../app/toast.js";
import { copyText } from "../markdown/code.js";
import { changed, conversations } from "./conversations.js";
import { regenerate, send, stop } from "./replies.js";

const known = new WeakMap();

/** Return the actions of a history; the same ones every time. */
export function actionsOf(history) {
  if (!known.has(history)) known.set(history, new Actions(history));
  return known.get(history);
}

class Actions {
  constructor(history) {
    this.history = history;
    this.id = history.conversationId;
  }

  changed() {
    return changed(this.id);
  }

  async copy(message) {
    await attempt(() => copyText(message.content));
  }

  /** Send a message; false when it was not stored, so that the text can be kept. */
  async send(body) {
    const sent = await attempt(async () => {
      await send(this.history, body);
      return true;
    });
    return Boolean(sent);
  }

  goOn() {
    return this.send({ content: t("ending.goOnText") });
  }

  async stop() {
    const ids = [...this.history.live.keys()];
    // A reply that has just ended by itself is what was wanted, too.
    await attempt(() => Promise.all(ids.map((id) => stop(id).catch((error) => {
      if (error.status !== 404) throw error;
    }))));
  }

  async regenerate(message, model) {
    await attempt(() => regenerate(this.history, message, model));
  }

  async regenerateWith(message) {
    const { ModelDialog } = await import("./models.js");
    const model = await open(ModelDialog, { chosen: message.model });
    if (model) await this.regenerate(message, model);
  }

  /** Let the model answer an edited message; what came after its reply is another talk. */
  async answerAgain(message) {
    const list = this.history.list();
    const at = list.findIndex((each) => each.id === message.id);
    const reply = list[at + 1];
    const later = list.slice(at + 2);
    if (later.length) {
      const sure = await confirm(t("edit.laterTitle"), t("edit.later", { count: later.length }), t("edit.laterDelete"));
      if (!sure) return;
      await this.delete(later);
    }
    if (reply?.role === "assistant") await this.regenerate(reply);
    else say(t("edit.noReply"));
  }

  async remove(messages) {
    const sure = await confirm(t("delete.title"), t("delete.messages", { count: messages.length }), t("delete"));
    if (sure) await attempt(() => this.delete(messages));
  }

  async deleteFrom(message) {
    const list = this.history.list();
    await this.remove(list.slice(list.findIndex((each) => each.id === message.id)));
  }

  async delete(messages) {
    const ids = messages.map((message) => message.id);
    await post("v1/chat/messages/delete", { message_ids: ids });
    this.history.drop(ids);
    await changed(this.id);
  }

  async fork(message) {
    await attempt(async () => {
      const made = await post(`v1/chat/conversations/${this.id}/fork`, { message_id: message.id });
      await changed(made.conversation_id);
      go(address("chat", made.conversation_id));
      say(t("fork.done"));
    });
  }

  async details(message) {
    const { DetailsDialog } = await import("./details.js");
    await attempt(async () => open(DetailsDialog, { message: await get(`v1/chat/messages/${message.id}`) }));
  }

  async revisions(message) {
    const { RevisionsDialog } = await import("./revisions.js");
    await attempt(async () => {
      const whole = await get(`v1/chat/messages/${message.id}`);
      const restored = await open(RevisionsDialog, { message: whole });
      if (restored) {
        await this.history.refresh();
        await changed(this.id);
      }
    });
  }

  async plan(message) {
    const conversation = conversations.value?.find((each) => each.id === this.id);
    const { GenerateDialog } = await import("../plans/generate.js");
    const document = await open(GenerateDialog, {
      conversationId: this.id,
      projectId: conversation?.project_id ?? 0,
      messageIds: message ? [message.id] : [],
      title: conversation?.name ?? "",
    });
    if (document) go(address("plans", String(document.id)));
  }
}
