import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Figure, ratiosTo, reaches, spreadOf, toJson, UNIT } from '../../../bench/figure.ts'
import { printFigures } from '../../../bench/print.ts'

const figure = (unit: Figure['unit'], samples: Figure['samples'], targets: Figure['targets'] = []): Figure => ({
  name: 'a figure',
  unit,
  samples,
  targets,
  processors: 'client 0, server 1',
  load: [0.1, 0.2],
})

describe('the spread', () => {
  test.each([
    [[3], { median: 3, min: 3, max: 3 }],
    [[3, 1, 2], { median: 2, min: 1, max: 3 }],
    [[4, 1, 2, 10], { median: 3, min: 1, max: 10 }],
  ])('of %j', (values, spread) => expect(spreadOf(values)).toEqual(spread))

  test('does not depend on the order, and changes nothing', () => {
    fc.assert(
      // No -0: sorting does not tell it from 0.
      fc.property(
        fc.array(
          fc.double({ noNaN: true }).map((value) => value + 0),
          { minLength: 1 },
        ),
        (values) => {
          const before = [...values]
          expect(spreadOf([...values].reverse())).toEqual(spreadOf(values))
          expect(values).toEqual(before)
        },
      ),
    )
  })
})

describe('ratios', () => {
  test('say how many times as good Samepage was, whichever way is better', () => {
    expect(ratiosTo(figure(UNIT.PER_SECOND, { samepage: [10, 30], native: [20, 20] }), 'native')).toEqual([0.5, 1.5])
    expect(ratiosTo(figure(UNIT.SECONDS, { samepage: [10, 30], native: [20, 15] }), 'native')).toEqual([2, 0.5])
  })

  test('are those of each repetition: the machine is not the same all the time', () => {
    const measured = figure(UNIT.PER_SECOND, { samepage: [1, 100, 10], bindfs: [1, 50, 20] })
    expect(spreadOf(ratiosTo(measured, 'bindfs')).median).toBe(1)
  })
})

describe('a target', () => {
  const samples = { samepage: [90, 96, 99], native: [100, 100, 100] }
  test.each([
    [UNIT.PER_SECOND, { against: 'native', min: 0.95 }, true],
    [UNIT.PER_SECOND, { against: 'native', min: 0.97 }, false],
    [UNIT.SECONDS, { against: 'native', min: 1.04 }, true],
    [UNIT.SECONDS, { against: 'native', min: 1.05 }, false],
    [UNIT.BYTES, { max: 96 }, true],
    [UNIT.BYTES, { max: 95 }, false],
    [UNIT.PER_SECOND, { against: 'bindfs', min: 0.1 }, undefined],
  ] as const)('%j %j: %s', (unit, target, reached) => {
    expect(reaches(figure(unit, samples, [target]), target)).toBe(reached)
  })

  test('is printed with its verdict, beside the spread', () => {
    const text = printFigures([figure(UNIT.PER_SECOND, samples, [{ against: 'native', min: 0.97 }])])
    for (const part of ['96/s', '90/s – 99/s', '0.96', '>= 0.97 x native', 'MISSED', 'client 0, server 1', 'load 0.1'])
      expect(text).toContain(part)
    expect(text).not.toContain('bindfs')
  })

  test('stands in the JSON with all samples', () => {
    const json = toJson(figure(UNIT.PER_SECOND, samples, [{ against: 'native', min: 0.95 }]))
    expect(JSON.parse(JSON.stringify(json))).toMatchObject({
      samples,
      spread: { samepage: { median: 96 } },
      timesAsGoodAs: { native: { median: 0.96, min: 0.9, max: 0.99 } },
      targets: [{ against: 'native', min: 0.95, reached: true }],
    })
  })
})
