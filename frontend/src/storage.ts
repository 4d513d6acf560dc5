// What the panel keeps in the browser, in the iframe's own origin, one entry per widget and name. Where the browser
// refuses (private mode, blocked third-party storage) it is kept in memory: the chat then works until the page is left.

export interface Kept {
  get<T>(name: string): T | null;
  set(name: string, value: unknown): void;
  /** Everything under `kind:…`, by what follows. Things with entries of their own are never overwritten by other tabs. */
  all<T>(kind: string): Record<string, T>;
  /** Forgets all. */
  clear(): void;
  /** Whether it will still be there when the visitor comes back. */
  readonly lasting: boolean;
  /** Calls back with the name of an entry that another tab has changed. */
  onChange(listener: (name: string) => void): void;
  /** Does `work` while no other tab does anything of that name; where browsers cannot tell, at once. */
  alone<T>(name: string, work: () => Promise<T>): Promise<T>;
}

export function keep(widget: string): Kept {
  const memory = new Map<string, string>();
  const prefix = `chatwidget:${widget}:`;
  const read = (name: string): string | null => {
    try {
      return localStorage.getItem(prefix + name) ?? memory.get(name) ?? null;
    } catch {
      return memory.get(name) ?? null;
    }
  };
  /** Whether the browser's storage took it. */
  const write = (name: string, text: string | null): boolean => {
    try {
      if (text === null) localStorage.removeItem(prefix + name);
      else localStorage.setItem(prefix + name, text);
      return true;
    } catch {
      return false;
    }
  };
  const names = (): string[] => {
    let keys: string[] = [];
    try {
      keys = Object.keys(localStorage);
    } catch {
      // In memory only.
    }
    const ours = keys.flatMap((key) => (key.startsWith(prefix) ? key.slice(prefix.length) : []));
    return [...new Set([...ours, ...memory.keys()])];
  };
  const get = <T>(name: string): T | null => {
    try {
      return JSON.parse(read(name) ?? "null");
    } catch {
      return null;
    }
  };
  const set = (name: string, value: unknown) => {
    const text = value === null || value === "" ? null : JSON.stringify(value);
    // What the browser's storage holds is not held twice: another tab may change it.
    if (write(name, text) || text === null) memory.delete(name);
    else memory.set(name, text);
  };
  return {
    get,
    set,
    clear() {
      for (const name of names()) set(name, null);
    },
    all<T>(kind: string) {
      const found: Record<string, T> = {};
      for (const name of names()) {
        const value = name.startsWith(`${kind}:`) ? get<T>(name) : null;
        if (value !== null) found[name.slice(kind.length + 1)] = value;
      }
      return found;
    },
    lasting: write("lasting", "1") && write("lasting", null),
    onChange(listener) {
      addEventListener("storage", ({ key }) => {
        if (key?.startsWith(prefix)) listener(key.slice(prefix.length));
      });
    },
    async alone(name, work) {
      let begun = false;
      const once = () => {
        begun = true;
        return work();
      };
      try {
        // Missing on plain http, refused where storage is.
        return await navigator.locks.request(prefix + name, once);
      } catch (error) {
        if (begun) throw error;
        return work();
      }
    },
  };
}
