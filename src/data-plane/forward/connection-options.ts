/** The options of a connection, which belong to one hop. */
import { HOP_BY_HOP } from "./strip-plan.ts";

/** The headers that `Connection` names, which belong to this hop (RFC 9110 section 7.6.1); usually none: undefined. */
export function connectionOptions(connection: string | undefined): ReadonlySet<string> | undefined {
  if (connection === undefined || connection === "keep-alive" || connection === "close") return undefined;
  const names = connection
    .toLowerCase()
    .split(",")
    .map((name) => name.trim());
  return new Set(names.filter((name) => name !== "" && !HOP_BY_HOP.has(name)));
}
