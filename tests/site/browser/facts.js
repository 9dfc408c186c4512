// What a page shows: its formulas, links, drawings, and how far it is too wide.
() => {
    const content = document.querySelector('.md-content');
    const formulas = [...content.querySelectorAll('math')];
    const box = text => {
        const { left, top, width, height } = text.getBoundingClientRect();
        return { text: text.textContent, x: left, y: top, w: width, h: height };
    };
    return {
        title: document.title,
        formulas: formulas.length,
        empty: formulas.filter(math => math.checkVisibility() && math.getBoundingClientRect().width < 1).length,
        raw: document.querySelectorAll('.arithmatex, .katex-error').length,
        ids: [...document.querySelectorAll('[id]')].map(element => element.id),
        links: [...document.querySelectorAll('a[href]')].map(link => link.getAttribute('href')),
        images: [...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.src),
        labels: [...document.querySelectorAll('svg.cell, svg.figure')].map(svg => [...svg.querySelectorAll('text')].map(box)),
        shapes: [...document.querySelectorAll('svg.cell')].map(svg => svg.querySelectorAll('path, rect, circle').length),
        wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    };
}
