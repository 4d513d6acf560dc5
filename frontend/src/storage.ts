// What the panel keeps in the browser, in the iframe's own origin, one entry per widget and name. Where the browser
// refuses (private mode, blocked third-party storage) it is kept in memory: the chat then works until the page is left.

export interface Kept {
  get<T>(name: string): T | null;
  set(name: string, value: unknown): void;
}

export function keep(widget: string): Kept {
  const memory = new Map<string, string>();
  const entry = (name: string) => `chatwidget:${widget}:${name}`;
  const read = (name: string): string | null => {
    try {
      return localStorage.getItem(entry(name)) ?? memory.get(name) ?? null;
    } catch {
      return memory.get(name) ?? null;
    }
  };
  return {
    get(name) {
      try {
        return JSON.parse(read(name) ?? "null");
      } catch {
        return null;
      }
    },
    set(name, value) {
      const text = value === null || value === "" ? null : JSON.stringify(value);
      if (text === null) memory.delete(name);
      else memory.set(name, text);
      try {
        if (text === null) localStorage.removeItem(entry(name));
        else localStorage.setItem(entry(name), text);
      } catch {
        // Kept in memory.
      }
    },
  };
}
