/** Figures as tables for people. */
import Table from 'cli-table3'
import { describeTarget, type Figure, OTHER_SIDES, ratiosTo, reaches, type Side, spreadOf } from './figure.ts'

export function printFigures(figures: readonly Figure[]): string {
  const others = OTHER_SIDES.filter((side) => figures.some((figure) => figure.samples[side] !== undefined))
  const beside = [...new Set(figures.flatMap((figure) => Object.keys(figure.beside ?? {})))]
  const table = new Table({
    head: ['', ...beside, 'Samepage', ...others.flatMap((side) => [side, `x ${side}`]), 'target', 'processors, load'],
    style: { head: [], border: [], compact: true },
    colAligns: [
      'left',
      ...beside.map(() => 'right' as const),
      'right',
      ...others.flatMap(() => ['right', 'right'] as const),
      'left',
      'left',
    ],
  })
  for (const figure of figures)
    table.push([
      figure.name,
      ...beside.map((name) => figure.beside?.[name]?.toFixed(1) ?? ''),
      valueCell(figure, 'samepage'),
      ...others.flatMap((side) => [valueCell(figure, side), ratioCell(figure, side)]),
      figure.targets
        .map((target) => `${describeTarget(target, figure.unit)}\n${verdict(reaches(figure, target))}`)
        .join('\n'),
      `${figure.processors}\nload ${figure.load.map((load) => load.toFixed(1)).join(' to ')}`,
    ])
  return `${table.toString()}\n`
}

function verdict(reached: boolean | undefined): string {
  return reached === undefined ? 'not measured' : reached ? 'reached' : 'MISSED'
}

function valueCell({ samples, unit }: Figure, side: Side): string {
  const values = samples[side]
  if (values === undefined) return ''
  const { median, min, max } = spreadOf(values)
  return values.length === 1 ? unit.format(median) : `${unit.format(median)}\n${unit.format(min)} – ${unit.format(max)}`
}

function ratioCell(figure: Figure, side: Side): string {
  if (figure.samples[side] === undefined) return ''
  const ratios = ratiosTo(figure, side)
  const { median, min, max } = spreadOf(ratios)
  return ratios.length === 1 ? times(median) : `${times(median)}\n${times(min)} – ${times(max)}`
}

const times = (ratio: number): string => ratio.toFixed(ratio >= 10 ? 1 : 2)
