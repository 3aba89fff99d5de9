/** GET of a small JSON document that the gateway has stored, compared with the same gateway without a cache. */
import { prepareItems } from "./get.ts";
import type { Workload } from "./workload.ts";

export const cached: Workload = {
  name: "cached",
  title: "GET of a stored response",
  unit: "request",
  contestants: ["gateway", "plain"],
  goals: [{ than: "plain", atMost: 0.7 }],
  isLongLived: false,
  option: "cache",
  prepare: (target) => prepareItems(target, (id) => `/cacheable/${id}`),
};
