/** Where the gateway listens, or would, and whether anybody can reach it there. */
import { existsSync } from "node:fs";
import { isIPv6 } from "node:net";
import {
  type BoundListener,
  type Check,
  conclude,
  type DiagnosticsContext,
  type OfflineState,
  type Problem,
  type Verdict,
} from "./check.ts";

const FINDS = {
  taken: {
    status: "fail",
    symptom: "the gateway does not start: exit code 1, and the port that is in use",
    fix: "Stop what listens there, or name another address with HOST and PORT (MANAGEMENT_HOST and MANAGEMENT_PORT).",
  },
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
  run(context) {
    if (context.offline === undefined) return verdictOf(context);
    return context.offline.findAddressObstacle().then((obstacle) => verdictOf(context, obstacle));
  },
};

/** @param obstacle what keeps a start from listening. */
function verdictOf(context: DiagnosticsContext, obstacle?: string): Verdict {
  const { config, isInContainer, offline } = context;
  const bound = context.listeners();
  const places = placesOf(context, bound);
  const taken = obstacle === undefined ? [] : [{ find: FINDS.taken, words: obstacle }];
  return conclude(
    [...taken, ...(isInContainer ? hidden(config, places, offline) : [])],
    `${verb(offline)} on ${places.join(" and ")}`,
    { listeners: bound, loopback: config.isLoopback, container: isInContainer },
  );
}

const verb = (offline: OfflineState | undefined) => (offline === undefined ? "it listens" : "a start can listen");

/** The main one first. */
function placesOf({ config, offline }: DiagnosticsContext, bound: readonly BoundListener[]): string[] {
  const { settings, managementListener: second } = config;
  const wanted = [{ address: settings.HOST, port: settings.PORT }];
  if (second !== undefined) wanted.push({ address: second.host, port: second.port });
  return (offline === undefined ? bound : wanted).map(({ address, port }) =>
    isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`,
  );
}

/** Told by what each serves: the two listeners may be on different addresses. */
function hidden(
  { isLoopback, managementListener: second }: DiagnosticsContext["config"],
  [main, management]: readonly string[],
  offline: OfflineState | undefined,
): Problem[] {
  if (!isLoopback) return [];
  const isAll = second === undefined || second.isLoopback;
  const what = isAll ? `it ${offline === undefined ? "listens" : "would listen"}` : "/proxy is";
  const rest = isAll ? "" : `; /manage is on ${management}, which may be reached from outside`;
  const words = `${what} on ${main} inside a container: only what shares the container's network reaches it${rest}`;
  return [{ find: FINDS.loopback, words }];
}

/** @param marks files that container engines leave. */
export function findContainer(
  marks = ["/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io"],
): boolean {
  return marks.some((path) => existsSync(path));
}
