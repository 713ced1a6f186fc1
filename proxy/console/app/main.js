// The console begins: who is it, and then what they came for.

import { html, render } from "./html.js";
import { begin } from "./session.js";
import { Shell } from "./shell.js";
import { language } from "./strings.js";
import "./theme.js";
import { attempt } from "./toast.js";

document.documentElement.lang = language;
const root = document.createElement("div");
root.id = "console";
document.body.append(root);
render(html`<${Shell} />`, root);
attempt(begin);
