import { useEffect, useRef, useState } from "preact/hooks";
import type { Chat } from "../chat";
import type { Settings } from "../protocol";
import { isKey, type Text } from "../text";
import { useAnnouncements } from "./announce";
import { Composer } from "./composer";
import { Context } from "./context";
import { Conversations } from "./conversations";
import { Header } from "./header";
import { Log } from "./log";

export interface AppProps {
  chat: Chat;
  settings: Settings;
  text: Text;
  /** Missing where the panel is a page of its own. */
  host?: { close(): void; escape(): void };
  /** Goes up by one each time the visitor opens the panel. */
  opened: number;
}

/** A quiet line above the composer: the state of the line, or of the last thing that failed. */
function Notice({ chat, text }: { chat: Chat; text: Text }) {
  const { online, link, notice } = chat.state;
  if (!online) return <p class="notice">{text("offline")}</p>;
  if (notice && isKey(notice)) return <p class="notice">{text(notice)}</p>;
  // Shown by the style sheet only when it lasts: most reconnects are over before anyone needs to know.
  if (link === "connecting") return <p class="notice late">{text("reconnecting")}</p>;
  return null;
}

export function App({ chat, settings, text, host, opened }: AppProps) {
  const { state } = chat;
  const [listing, setListing] = useState(false);
  const [said, setSaid] = useState("");
  /** Goes up when the focus has to go back to where one writes. */
  const [moved, setMoved] = useState(0);
  const panel = useRef<HTMLDivElement>(null);
  const touch = matchMedia("(pointer: coarse)").matches;
  const name = text("title") || settings.name;

  // The same words twice in a row must be a change to be said again.
  const say = (words: string) => setSaid((last) => (last === words ? `${words}\u00a0` : words));
  useAnnouncements(chat, text, name, say);

  // On the document, since the focus is nowhere after the button it was on has gone.
  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || event.isComposing) return;
      if (listing) setListing(false);
      else host?.escape();
    };
    document.addEventListener("keydown", key);
    return () => document.removeEventListener("keydown", key);
  }, [listing, host]);

  useEffect(() => {
    // On a touch screen, focus in the composer would throw up the keyboard over the greeting.
    if (touch && opened + moved > 0) panel.current?.focus();
  }, [opened, moved]);

  const frame = { role: host ? "dialog" : "main", "aria-label": name } as const;
  return (
    <Context.Provider value={{ chat, settings, text, name, say }}>
      <div ref={panel} class={host ? "panel" : "panel page"} {...frame} tabIndex={-1}>
        <Header
          onClose={host?.close}
          listing={listing}
          onList={setListing}
          onNew={() => {
            chat.newConversation();
            setListing(false);
            setMoved(moved + 1);
          }}
        />
        {listing ? (
          <Conversations onDone={() => setListing(false)} />
        ) : (
          <>
            <Log />
            <div class="foot">
              {state.paused ? (
                <p class="notice">{text("paused")}</p>
              ) : (
                <>
                  <Notice chat={chat} text={text} />
                  <Composer focus={touch ? 0 : opened + moved} />
                </>
              )}
              {text("disclaimer") && (
                <p class="disclaimer" dir="auto">
                  {text("disclaimer")}
                </p>
              )}
            </div>
          </>
        )}
        <div class="hidden" role="status">
          {said}
        </div>
      </div>
    </Context.Provider>
  );
}
