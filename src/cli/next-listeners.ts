/** Where the next start would listen: a gateway's own addresses are not dialled, also before it is there. */
import type { Config } from "../config/load-config.ts";

export function nextListeners({ settings: { HOST, PORT }, managementListener }: Config) {
  const main = { host: HOST, port: PORT };
  return [main, ...(managementListener === undefined ? [] : [managementListener])].map(({ host, port }) => ({
    address: host === "localhost" ? "127.0.0.1" : host,
    port,
  }));
}
