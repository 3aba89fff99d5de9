/** The problems of a service's `hosts` and `port`: addresses of another service, and those of the gateway itself. */
import { type Addressed, isUnderLocalhost, splitHost, type TakenAddress } from "./service-addresses.ts";
import type { Settings } from "./settings.ts";
import type { FoundProblem } from "./translate-issue.ts";

/** One problem for each address that another service has. */
export function describeTaken(key: string, taken: readonly TakenAddress[]): FoundProblem[] {
  return taken.map(({ path, shown, owner }) => ({
    path: ["services", key, ...path],
    at: "value",
    text: `found ${shown}, which belongs to the service ${owner}, allowed: ${path[0] === "port" ? "a port" : "a host"} that no other service has`,
  }));
}

/** On an open plane, only names that no web page can point to this machine are accepted. */
export function reviewOpenHosts(
  { key, hosts }: Addressed,
  { ALLOWED_HOSTS = [] }: Pick<Settings, "ALLOWED_HOSTS">,
  { proxyPlane }: { readonly proxyPlane: { readonly isProtected: boolean } },
): FoundProblem[] {
  if (proxyPlane.isProtected) return [];
  const allowed = new Set(ALLOWED_HOSTS.map((host) => splitHost(host).name));
  const isAccepted = (host: string) => allowed.has("*") || allowed.has(splitHost(host).name) || isUnderLocalhost(host);
  return [...hosts.entries()]
    .filter(([, host]) => !isAccepted(host))
    .map(([at, host]) => ({
      path: ["services", key, "hosts", at],
      at: "value",
      text: `requests to ${host} are refused while /proxy/* has no key: add it to ALLOWED_HOSTS, use a name under .localhost, or set PROXY_API_KEY`,
    }));
}

type GatewayAddresses = Pick<Settings, "HOST" | "PORT" | "MANAGEMENT_HOST" | "MANAGEMENT_PORT" | "PUBLIC_URL">;

/** The addresses of a service that are the gateway's own. */
export function reviewAddresses({ key, hosts, port }: Addressed, settings: GatewayAddresses): FoundProblem[] {
  const { HOST, PORT, MANAGEMENT_HOST, MANAGEMENT_PORT, PUBLIC_URL } = settings;
  const problems: FoundProblem[] = [];
  const own = [
    ["HOST", HOST],
    ["MANAGEMENT_HOST", MANAGEMENT_HOST],
    ["PUBLIC_URL", PUBLIC_URL && new URL(PUBLIC_URL).hostname],
  ] as const;
  for (const [at, host] of hosts.entries()) {
    const { name } = splitHost(host);
    const [variable] = own.find(([, its]) => its !== undefined && splitHost(its).name === name) ?? [];
    if (variable === undefined) continue;
    const text = `found ${host}, the host of ${variable}, allowed: a host that is not the gateway's`;
    problems.push({ path: ["services", key, "hosts", at], at: "value", text });
  }
  const [variable] =
    (
      [
        ["PORT", PORT],
        ["MANAGEMENT_PORT", MANAGEMENT_PORT],
      ] as const
    ).find(([, its]) => its === port) ?? [];
  if (port !== undefined && variable !== undefined) {
    const text = `found ${port}, the same as ${variable}, allowed: another port`;
    problems.push({ path: ["services", key, "port"], at: "value", text });
  }
  return problems;
}
