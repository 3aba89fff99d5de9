/** The order of use against a list. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Ordered, UseOrder } from "../../../src/data-plane/cache/use-order.ts";

interface Item extends Ordered<Item> {
  readonly id: number;
}

const createItems = (count: number): Item[] =>
  Array.from({ length: count }, (_, id) => ({ id, older: undefined, newer: undefined }));

function idsOf(order: UseOrder<Item>): number[] {
  const ids: number[] = [];
  for (let item = order.oldest; item !== undefined; item = item.newer) ids.push(item.id);
  return ids;
}

test("Items are in the order of their last use, whatever is used and removed", () => {
  const step = fc.record({ id: fc.nat(4), isRemoved: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const order = new UseOrder<Item>();
      const items = createItems(5);
      let expected: number[] = [];
      for (const { id, isRemoved } of steps) {
        if (isRemoved) order.remove(items[id] as Item);
        else order.use(items[id] as Item);
        expected = expected.filter((each) => each !== id);
        if (!isRemoved) expected.push(id);
        expect(idsOf(order)).toEqual(expected);
      }
      order.clear();
      expect(idsOf(order)).toEqual([]);
    }),
    { numRuns: 200 },
  );
});
