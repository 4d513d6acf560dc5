import { useEffect, useRef, useState } from "preact/hooks";
import { later } from "../fetched";
import type { TextKey } from "../text";
import { useSurroundings } from "./context";
import { Icon, IconButton } from "./icons";

/** What one needs seldom: sound, a copy of the conversation, and having everything deleted. */
export function Menu() {
  const { chat, text, name, say } = useSurroundings();
  const [open, setOpen] = useState(false);
  const [asking, setAsking] = useState(false);
  /** Why not everything could be deleted. */
  const [failed, setFailed] = useState<TextKey | null>(null);
  const menu = useRef<HTMLDivElement>(null);
  const button = () => menu.current?.querySelector("button")?.focus();

  const close = () => {
    setOpen(false);
    setAsking(false);
    setFailed(null);
  };
  useEffect(() => {
    if (!open) return;
    const outside = (event: Event) => {
      if (!menu.current?.contains(event.target as Node)) close();
    };
    for (const kind of ["pointerdown", "focusin"]) document.addEventListener(kind, outside);
    return () => {
      for (const kind of ["pointerdown", "focusin"]) document.removeEventListener(kind, outside);
    };
  }, [open]);
  // To the first thing that can be done; where everything is to be deleted, that is not doing it.
  useEffect(() => {
    if (open) menu.current?.querySelector<HTMLElement>(".menu button")?.focus();
  }, [open, asking]);

  const save = async () => {
    close();
    button();
    const messages = await chat.everything();
    const locale = document.documentElement.lang || "en";
    const day = new Date().toISOString().slice(0, 10);
    const file = later();
    if (messages && file) file.download(`chat-${day}.txt`, file.transcript(messages, text, name, locale));
  };
  const erase = async (event: MouseEvent) => {
    // Not by the second click of a double click on what asks.
    if (event.detail > 1) return;
    const why = await chat.erase();
    setFailed(why);
    if (why) return;
    close();
    button();
    say(text("erased"));
  };

  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: what is inside can be reached; this only hears Escape
    <div
      class="more"
      ref={menu}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !open) return;
        event.stopPropagation();
        close();
        button();
      }}
    >
      <IconButton
        icon="more"
        label={text("menu")}
        expanded={open}
        onClick={() => (open ? close() : setOpen(true))}
      />
      {open && (
        <div class="menu" role="group" aria-label={text(asking ? "erase" : "menu")}>
          {asking ? (
            <>
              <p>{text("erase_sure")}</p>
              {failed && (
                <p class="bad" role="alert">
                  {text(failed)}
                </p>
              )}
              <button type="button" onClick={() => setAsking(false)}>
                {text("cancel")}
              </button>
              <button type="button" class="bad" onClick={erase}>
                {text("erase_all")}
              </button>
            </>
          ) : (
            <>
              <button
                type="button"
                role="switch"
                aria-checked={chat.sound}
                onClick={() => {
                  chat.sound = !chat.sound;
                  if (chat.sound) later()?.chime();
                }}
              >
                {text("sound")}
                {chat.sound && <Icon name="check" />}
              </button>
              {chat.state.conversation && later() && (
                <button type="button" onClick={save}>
                  {text("download")}
                </button>
              )}
              <button type="button" onClick={() => setAsking(true)}>
                {text("erase")}
              </button>
            </>
          )}
        </div>
      )}
    </div>
  );
}
