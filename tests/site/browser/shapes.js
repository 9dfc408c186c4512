// Of every drawing: the colours of each shape that is not meant to be faint, and the paper that the drawing brings, if it does.
() => [...document.querySelectorAll('svg')].map(svg => {
    const OVER = '.inside, .sign, .lever, .contact'; // stands on a shape, which `ink.js` looks at
    const frame = svg.getBoundingClientRect();
    const opacity = element => getComputedStyle(element).opacity * (element === svg ? 1 : opacity(element.parentElement));
    const colours = shape => {
        const style = getComputedStyle(shape);
        return ['fill', 'stroke'].filter(kind => style[`${kind}Opacity`] * opacity(shape) > 0.5).map(kind => style[kind]);
    };
    const covers = shape => {
        const { width, height } = shape.getBoundingClientRect();
        return width > 0.97 * frame.width && height > 0.97 * frame.height && getComputedStyle(shape).fill !== 'none';
    };
    const shapes = [...svg.querySelectorAll('path, rect, circle, line, polygon, text')].filter(
        shape => !shape.closest('defs, clipPath') && !shape.matches(OVER) && shape.getClientRects().length,
    );
    const sheet = shapes.slice(0, 1).find(covers);
    return {
        paper: sheet ? getComputedStyle(sheet).fill : null,
        shapes: shapes
            .filter(shape => shape !== sheet)
            .map(shape => ({ what: shape.outerHTML.slice(0, 120), colours: colours(shape).filter(colour => colour.startsWith('rgb')) }))
            .filter(shape => shape.colours.length),
    };
})
