/** The same GET, with TLS 1.3 between the load and the contestant. */
import { prepareGet } from "./get.ts";
import type { Workload } from "./workload.ts";

export const tls: Workload = {
  name: "tls",
  title: "GET, https gateway",
  unit: "request",
  contestants: ["gateway", "against", "undici", "nginx"],
  goals: [],
  secureSide: "load",
  isLongLived: false,
  prepare: prepareGet,
};
