/** Runs the store in memory through the suite of its contract. */
import { MemoryStore } from "../../../src/data-plane/cache/cache-store.ts";
import { describeCacheStore } from "../../contracts/cache-store.ts";

describeCacheStore("in memory", (bounds) => new MemoryStore(bounds));
