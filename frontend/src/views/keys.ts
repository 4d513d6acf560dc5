/** An input method sends this while a word is still being put together; such an Enter picks a word. */
const COMPOSING = 229;

/** Whether the key is an Enter that sends, rather than one that begins a line or ends a composed word. */
export const sends = ({ key, shiftKey, isComposing, keyCode }: KeyboardEvent): boolean =>
  key === "Enter" && !shiftKey && !isComposing && keyCode !== COMPOSING;
