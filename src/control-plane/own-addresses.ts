/** The addresses that belong to one service only, as `/proxy/services` and `/status` show them: left out where there are none. */
import type { Service } from "../config/schema.ts";

export function ownAddresses({ hosts, port }: Pick<Service, "hosts" | "port">): {
  hosts?: readonly string[];
  port?: number;
} {
  return { ...(hosts.length > 0 ? { hosts } : {}), ...(port === undefined ? {} : { port }) };
}
