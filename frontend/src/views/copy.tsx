import { useEffect, useState } from "preact/hooks";
import { useSurroundings } from "./context";
import { IconButton } from "./icons";

const SHOWN_MS = 2_000;

/** The clipboard interface is missing on plain http and may be forbidden in a frame; the old way may still work. */
async function toClipboard(value: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(value);
    return true;
  } catch {
    const area = document.createElement("textarea");
    const focused = document.activeElement as HTMLElement | null;
    area.value = value;
    document.body.append(area);
    area.select();
    const copied = document.execCommand?.("copy") ?? false;
    area.remove();
    focused?.focus();
    return copied;
  }
}

export function CopyButton({ value, label }: { value: string; label: string }) {
  const { text, say } = useSurroundings();
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async () => {
    if (!(await toClipboard(value))) return;
    setCopied(true);
    say(text("copied"));
  };
  return (
    <IconButton
      class="copy"
      icon={copied ? "check" : "copy"}
      label={copied ? text("copied") : label}
      onClick={copy}
    />
  );
}
