/** The same GET, with TLS between the contestant and the origin. */
import { prepareGet } from "./get.ts";
import type { Workload } from "./workload.ts";

export const httpsGet: Workload = {
  name: "https-get",
  title: "GET, https upstream",
  unit: "request",
  contestants: ["gateway", "against", "undici", "http-proxy-3", "nginx"],
  goals: [
    { than: "undici", atMost: 1.2 },
    { than: "http-proxy-3", atMost: 0.72 },
  ],
  secureSide: "origin",
  isLongLived: false,
  prepare: prepareGet,
};
