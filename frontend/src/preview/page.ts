// The live preview on a widget's page in the admin: the bubble and the frame that a site would get, and in it a panel
// that is told at each change what the form says (panel.tsx). Nothing of it is sent or saved.
import { drawLauncher } from "../launcher";
import { post, receive, type ToPage } from "../messages";
import { draftOf, type Place, placeOf } from "./draft";

/** The bubble's corner is that of the stage, not of the screen; above the bubble, the frame takes the room there is. */
const FIT = "div{--height:100%}@media (min-width:641px){div{height:calc(100% - 108px);max-height:640px}}";

function start(preview: HTMLElement, form: HTMLFormElement): void {
  const stage = preview.querySelector<HTMLElement>("[data-panel]")!;
  const draft = draftOf(form, JSON.parse(stage.dataset.settings!));
  let settings = draft();
  let drawn = "";
  let loaded = "";
  let place: Place | undefined;
  let due = false;

  const draw = () => drawLauncher({ ...settings.look }, settings.texts.label!);
  let { host, button, frame } = draw();
  const iframe = document.createElement("iframe");
  iframe.title = stage.dataset.title!;

  const show = (open: boolean) => {
    frame.classList.toggle("open", open);
    button.setAttribute("aria-expanded", `${open}`);
  };
  /** The bubble and its corner; drawn anew, since a launcher does not change its looks. */
  const dress = () => {
    const wanted = JSON.stringify([settings.look, settings.texts.label]);
    if (wanted === drawn) return;
    drawn = wanted;
    const fresh = draw();
    const open = frame.classList.contains("open");
    frame.dir = fresh.frame.dir;
    frame.style.colorScheme = fresh.frame.style.colorScheme;
    button.replaceWith(fresh.button);
    button = fresh.button;
    button.onclick = () => show(!frame.classList.contains("open"));
    show(open);
  };
  const tell = () => {
    due = false;
    settings = draft();
    dress();
    post(iframe.contentWindow!, location.origin, { type: "draft", settings, place });
    place = undefined;
  };
  /** Once a frame on the screen, however fast somebody types. */
  const tellSoon = () => {
    if (!due) requestAnimationFrame(tell);
    due = true;
  };
  /** The panel's words come with its page. */
  const load = () => {
    loaded = settings.locale;
    iframe.src = `${stage.dataset.panel}?locale=${encodeURIComponent(loaded)}`;
  };

  form.addEventListener("input", tellSoon);
  form.addEventListener("change", () => {
    tell();
    if (settings.locale !== loaded) load();
  });
  form.addEventListener("focusin", ({ target }) => {
    place = placeOf((target as HTMLInputElement).name);
    if (!place) return;
    show(true);
    tellSoon();
  });
  addEventListener("message", (event) => {
    const message = receive<ToPage>(event, iframe.contentWindow, location.origin);
    if (message?.type === "close") show(false);
  });

  const fit = new CSSStyleSheet();
  fit.replaceSync(FIT);
  host.shadowRoot!.adoptedStyleSheets.push(fit);
  iframe.onload = tell;
  load();
  frame.append(iframe);
  stage.append(host);
  dress();
  show(true);
  preview.hidden = false;
}

const preview = document.getElementById("preview");
const form = document.querySelector<HTMLFormElement>("#widget_form");
if (preview && form) start(preview, form);
