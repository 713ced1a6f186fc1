// The list of conversations and projects, as far as it was read.

import { get, post, put, remove } from "../app/api.js";
import { signal } from "../app/html.js";
import { attempt } from "../app/toast.js";
import { announce } from "./tabs.js";

const PAGE = 100;
const PATH = "v1/chat/conversations";

/** Conversations by last activity; null until they are read. */
export const conversations = signal(null);
export const projects = signal([]);
export const mayHaveMore = signal(false);

/** What is shown: {project: null | id, archived}. */
export const filter = signal({ project: null, archived: false });

/** Models that can be chosen, and the one for calls that name none. */
export const models = signal([]);
export const defaultModel = signal("");

let latestRead = 0;

const query = () => ({
  status: filter.value.archived ? 1 : 0,
  project_id: filter.value.project,
});

/** Read the list (again), as much of it as there was. */
export async function loadConversations() {
  const turn = ++latestRead;
  const limit = Math.max(PAGE, conversations.value?.length ?? 0);
  const found = await get(PATH, { ...query(), limit });
  if (turn !== latestRead) return;
  conversations.value = found;
  mayHaveMore.value = found.length >= limit;
}

/** Show other conversations: of a project, or archived ones. */
export function choose(next) {
  filter.value = next;
  conversations.value = null;
  attempt(loadConversations);
}

export async function loadMoreConversations() {
  const last = conversations.value?.at(-1);
  if (!last || !mayHaveMore.value) return;
  mayHaveMore.value = false;
  const turn = latestRead;
  const found = await get(PATH, { ...query(), limit: PAGE, before: last.updated_at });
  if (turn !== latestRead) return;
  const there = new Set(conversations.value.map((each) => each.id));
  conversations.value = [
    ...conversations.value,
    ...found.filter((each) => !there.has(each.id)),
  ];
  mayHaveMore.value = found.length >= PAGE;
}

export async function loadProjects() {
  projects.value = await get("v1/projects");
}

export async function loadModels() {
  const listed = await get("v1/models");
  models.value = listed.data;
  defaultModel.value = listed.default_model ?? listed.data[0]?.id ?? "";
}

export const projectName = (id) => projects.value.find((project) => project.id === id)?.name ?? (id ? `#${id}` : "");

export const getConversation = (id, options) => get(`${PATH}/${id}`, {}, options);

export async function createConversation(fields) {
  const { conversation_id: id } = await post(PATH, fields);
  await changed();
  return id;
}

export async function updateConversation(id, fields) {
  await put(`${PATH}/${id}`, fields);
  await changed(id);
}

export async function deleteConversation(id) {
  await remove(`${PATH}/${id}`);
  await changed(id);
}

/** Read the list again and tell the other tabs. */
export async function changed(id) {
  announce({ conversation: id });
  await loadConversations();
}

/** Create or change a project; returns it. */
export async function saveProject(id, fields) {
  const saved = id ? await put(`v1/projects/${id}`, fields) : await post("v1/projects", fields);
  await loadProjects();
  announce({ projects: true });
  return saved;
}

export async function deleteProject(id) {
  await remove(`v1/projects/${id}`);
  await loadProjects();
  announce({ projects: true });
}
