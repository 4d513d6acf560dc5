import type { ComponentChildren } from "preact";
import { disguised, safeUrl, whereTo } from "../links";
import { useText } from "./context";
import { Icon } from "./icons";

interface LinkProps {
  href: string;
  /** What `children` read as. */
  words: string;
  children: ComponentChildren;
}

/** A link that says where it goes, and warns where it looks like another; just its words if it may not be one. */
export function Link({ href, words, children }: LinkProps) {
  const text = useText();
  const url = safeUrl(href);
  if (!url) return <>{children}</>;
  const where = whereTo(url);
  const odd = disguised(url, words);
  return (
    <a href={url.href} title={where} target="_blank" rel="noopener noreferrer nofollow">
      <span>{children}</span>
      {(odd || !words.includes(where)) && (
        <>
          {" "}
          <small dir="auto" class={odd ? "odd" : ""}>
            {odd && <Icon name="alert" />}
            {odd ? text("leads_to", { where }) : where}
          </small>
        </>
      )}
    </a>
  );
}
