import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Chat } from "../chat";
import type { Settings } from "../protocol";
import { type Text, texts } from "../text";

/** What every view may need. */
export interface Surroundings {
  chat: Chat;
  settings: Settings;
  text: Text;
  /** The assistant's name. */
  name: string;
  /** Has a screen reader say something once. */
  say(words: string): void;
}

export const Context = createContext<Surroundings>({
  text: texts("en", {}),
  say() {},
} as unknown as Surroundings);

export const useSurroundings = () => useContext(Context);
export const useText = () => useContext(Context).text;
