/** Checks the addresses of the listeners, and whether clients can reach them. */
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

const FINDINGS = {
  taken: {
    status: "fail",
    symptom: "the gateway does not start: exit code 1, the port is in use",
    fix: "Stop the program that uses the port, or set HOST and PORT (MANAGEMENT_HOST and MANAGEMENT_PORT) to another address.",
  },
  loopback: {
    status: "warn",
    symptom: "clients outside the container cannot reach the gateway",
    fix: "Set HOST=0.0.0.0 and a key for each plane. Ignore this for a sidecar that shares its client's network.",
  },
} as const;

export const listen: Check = {
  id: "listen",
  inspects: "the addresses that the gateway listens on",
  findings: FINDINGS,
  run(context) {
    if (context.offline === undefined) return verdictOf(context);
    return context.offline.findAddressObstacle().then((obstacle) => verdictOf(context, obstacle));
  },
};

/** @param obstacle what keeps the gateway from listening. */
function verdictOf(context: DiagnosticsContext, obstacle?: string): Verdict {
  const { config, isInContainer, offline } = context;
  const bound = context.listeners();
  const addresses = addressesOf(context, bound);
  const taken = obstacle === undefined ? [] : [{ finding: FINDINGS.taken, message: obstacle }];
  const verb = offline === undefined ? "listens" : "can listen";
  return conclude(
    [...taken, ...(isInContainer ? unreachable(config, addresses, offline) : [])],
    `the gateway ${verb} on ${addresses.join(" and ")}`,
    { listeners: bound, loopback: config.isLoopback, container: isInContainer },
  );
}

/** The main listener comes first. */
function addressesOf({ config, offline }: DiagnosticsContext, bound: readonly BoundListener[]): string[] {
  const { settings, managementListener: second } = config;
  const configured = [{ address: settings.HOST, port: settings.PORT }];
  if (second !== undefined) configured.push({ address: second.host, port: second.port });
  return (offline === undefined ? bound : configured).map(({ address, port }) =>
    isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`,
  );
}

/** Names the planes if the two listeners differ: one may be reachable from outside. */
function unreachable(
  { isLoopback, managementListener: second }: DiagnosticsContext["config"],
  [main, management]: readonly string[],
  offline: OfflineState | undefined,
): Problem[] {
  if (!isLoopback) return [];
  const isAll = second === undefined || second.isLoopback;
  const subject = isAll ? `the gateway ${offline === undefined ? "listens" : "would listen"}` : "/proxy is";
  const rest = isAll ? "" : `; /manage is on ${management}, which may be reachable from outside`;
  const message = `${subject} on ${main} inside a container, where only programs in the same network can reach it${rest}`;
  return [{ finding: FINDINGS.loopback, message }];
}

/** @param marks files that container engines create. */
export function findContainer(
  marks = ["/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io"],
): boolean {
  return marks.some((path) => existsSync(path));
}
