// Pictures of a message: where a key opens the server, an <img> alone may not fetch them.

import { credentials, sentKey } from "../app/api.js";
import { t } from "../app/strings.js";

/** Let the pictures of a fragment load with the key of this tab, and say when one is gone. */
export function decoratePictures(fragment) {
  for (const picture of fragment.querySelectorAll("img")) {
    picture.addEventListener("error", () => picture.replaceWith(t("picture.gone", { name: picture.alt })));
    if (sentKey() && picture.src.startsWith("http")) {
      const address = picture.src;
      picture.removeAttribute("src");
      fetchPicture(address).then(
        (blob) => (picture.src = URL.createObjectURL(blob)),
        () => picture.dispatchEvent(new Event("error")),
      );
    }
  }
}

async function fetchPicture(address) {
  const answer = await fetch(address, { headers: credentials() });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.blob();
}
