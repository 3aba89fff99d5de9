/** Where state is: with one process there is nothing to disagree with. */
import { type Check, conclude } from "./check.ts";

export const store: Check = {
  id: "store",
  needs: "configuration",
  looksAt: "whether limits and changes are shared with other instances",
  finds: {},
  run: ({ stateFolder }) =>
    conclude([], "state is local to this process: other instances count limits and keep changes by themselves", {
      shared: false,
      folder: stateFolder ?? null,
    }),
};
