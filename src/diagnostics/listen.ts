/** Where the gateway listens, and whether anybody can reach it there. */
import { existsSync } from "node:fs";
import { isIPv6 } from "node:net";
import { type Check, conclude } from "./check.ts";

const FINDS = {
  loopback: {
    status: "warn",
    symptom: "the container cannot be reached from outside",
    fix: "Set HOST=0.0.0.0 and a key for each plane; leave it as it is for a sidecar that shares its caller's network.",
  },
} as const;

export const listen: Check = {
  id: "listen",
  looksAt: "the addresses that the gateway listens on",
  finds: FINDS,
  run({ config, listeners, isInContainer }) {
    const bound = listeners();
    const words = bound.map(({ address, port }) => (isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`));
    const isHidden = isInContainer && config.isLoopback;
    return conclude(
      isHidden
        ? [
            {
              find: FINDS.loopback,
              words: `it listens on ${words[0]} inside a container: only what shares the container's network reaches it`,
            },
          ]
        : [],
      `it listens on ${words.join(" and ")}`,
      { listeners: bound, loopback: config.isLoopback, container: isInContainer },
    );
  },
};

/** @param marks files that container engines leave. */
export function findContainer(
  marks = ["/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io"],
): boolean {
  return marks.some((path) => existsSync(path));
}
