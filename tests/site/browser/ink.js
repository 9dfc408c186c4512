// What is written, in which colour and on which: of a drawing, on the shape under the middle of the text.
() => {
    const WRITTEN = '.md-content :is(p, td, code, math, .why, .number a), svg.cell text, svg.figure text';
    const solid = colour => colour && colour !== 'none' && colour !== 'transparent' && !colour.endsWith(', 0)');
    const paper = element => {
        for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if (solid(colour)) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const shape = text => {
        text.scrollIntoView({ block: 'center', inline: 'center' });
        const { left, top, width, height } = text.getBoundingClientRect();
        const under = document.elementsFromPoint(left + width / 2, top + height / 2);
        return under.find(element => element instanceof SVGGeometryElement && solid(getComputedStyle(element).fill));
    };
    const found = [];
    for (const element of document.querySelectorAll(WRITTEN)) {
        if (!element.checkVisibility() || !element.textContent.trim()) continue;
        const drawn = element instanceof SVGElement;
        const below = drawn && shape(element);
        found.push({
            text: element.textContent.trim().slice(0, 40),
            ink: getComputedStyle(element)[drawn ? 'fill' : 'color'],
            under: below ? getComputedStyle(below).fill : paper(drawn ? element.closest('svg').parentElement : element),
        });
    }
    return found;
}
