// Drawn on a grid of 24, by stroke, in the colour of the text around them.

const PATHS = {
  close: "M6 6l12 12M18 6L6 18",
  compose: "M12 20h8M16.5 4.5a2.1 2.1 0 0 1 3 3L8 19l-4 1 1-4z",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  clip: "M20 11.5l-8 8a5 5 0 0 1-7-7l8.5-8.5a3.3 3.3 0 0 1 4.7 4.7l-8.4 8.4a1.7 1.7 0 0 1-2.4-2.4l7.6-7.5",
  list: "M3.5 12a8.5 8.5 0 1 0 2.6-6.1L3.5 8.3M3.5 3.5v4.8h4.8M12 7.5V12l3 2",
  back: "M15 5l-7 7 7 7",
  send: "M12 19V5M5.5 11.5L12 5l6.5 6.5",
  down: "M12 5v14M5.5 12.5L12 19l6.5-6.5",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "M5 12.5l4.5 4.5L19 7.5",
  alert: "M12 8v5M12 16.5v.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  up: "M7 10.5v9.5H4v-9.5zM7 11l4-7.5c1.6 0 2.6 1.2 2.3 2.8L12.7 9.5h5.6c1.2 0 2 1.1 1.7 2.2l-1.7 6.7c-.2.9-1 1.6-2 1.6H7",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20.5c.7-3.6 3.7-6 7.5-6s6.8 2.4 7.5 6",
};

export type IconName = keyof typeof PATHS | "thumb_down" | "square";

export function Icon({ name }: { name: IconName }) {
  const turned = name === "thumb_down";
  return (
    <svg viewBox="0 0 24 24" aria-hidden="true" class={turned ? "turned" : name === "back" ? "onward" : ""}>
      {name === "square" ? (
        <rect x="5" y="5" width="14" height="14" rx="3" />
      ) : (
        <path d={PATHS[turned ? "up" : (name as keyof typeof PATHS)]} />
      )}
    </svg>
  );
}

interface IconButtonProps {
  icon: IconName;
  label: string;
  onClick(event: MouseEvent): void;
  class?: string;
  pressed?: boolean;
  expanded?: boolean;
  id?: string;
}

export function IconButton({ icon, label, onClick, pressed, expanded, ...rest }: IconButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      class={`icon ${rest.class ?? ""}`}
      aria-label={label}
      title={label}
      aria-pressed={pressed}
      aria-expanded={expanded}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  );
}
