/** Reports where state is stored. A single process has no other instance to disagree with. */
import { type Check, conclude } from "./check.ts";

export const store: Check = {
  id: "store",
  needs: "configuration",
  inspects: "whether limits and changes are shared with other instances",
  findings: {},
  run: ({ stateFolder }) =>
    conclude([], "state is local to this process; other instances have their own limits and changes", {
      shared: false,
      folder: stateFolder ?? null,
    }),
};
